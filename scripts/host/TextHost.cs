using System.Collections.ObjectModel;
using System.Globalization;
using System.Management.Automation;
using System.Management.Automation.Host;
using System.Security;

namespace PitrPS.ScriptHost;

/// <summary>Where a <see cref="TextHost"/> sends what PowerShell says to a person.</summary>
internal interface ITextSink
{
    /// <summary>Columns that a formatted view may take.</summary>
    int Width { get; }

    /// <summary>True when somebody can be asked.</summary>
    bool CanAsk { get; }

    void Write(string text);

    void WriteError(string line);

    void WriteProgress(ProgressRecord record);

    string? ReadLine();
}

/// <summary>The smallest PSHost that shows everything: output, views, errors, warnings, verbose text, host messages and progress.</summary>
internal sealed class TextHost(ITextSink sink) : PSHost
{
    private readonly TextHostUi _ui = new(sink);

    /// <summary>What <c>exit</c> said; null while nobody has.</summary>
    public int? ExitCode { get; private set; }

    public override string Name => "PitrPS.ScriptHost";

    public override Version Version { get; } = new(1, 0);

    public override Guid InstanceId { get; } = Guid.NewGuid();

    public override PSHostUserInterface UI => _ui;

    public override CultureInfo CurrentCulture => CultureInfo.InvariantCulture;

    public override CultureInfo CurrentUICulture { get; } = CultureInfo.GetCultureInfo("en-US");

    public override void SetShouldExit(int exitCode) => ExitCode = exitCode;

    public override void EnterNestedPrompt() => throw new NotSupportedException("This host has no nested prompt.");

    public override void ExitNestedPrompt() => throw new NotSupportedException("This host has no nested prompt.");

    public override void NotifyBeginApplication()
    {
    }

    public override void NotifyEndApplication()
    {
    }
}

internal sealed class TextHostUi(ITextSink sink) : PSHostUserInterface
{
    public override PSHostRawUserInterface RawUI { get; } = new TextRawUi(sink);

    public override bool SupportsVirtualTerminal => false;

    public override void Write(string value) => sink.Write(value);

    public override void Write(ConsoleColor foregroundColor, ConsoleColor backgroundColor, string value) => sink.Write(value);

    public override void WriteLine(string value) => sink.Write(value + "\n");

    public override void WriteErrorLine(string value) => sink.WriteError(value);

    public override void WriteDebugLine(string message) => sink.WriteError("DEBUG: " + message);

    public override void WriteVerboseLine(string message) => sink.WriteError("VERBOSE: " + message);

    public override void WriteWarningLine(string message) => sink.WriteError("WARNING: " + message);

    public override void WriteProgress(long sourceId, ProgressRecord record) => sink.WriteProgress(record);

    public override string ReadLine() => Ask();

    public override SecureString ReadLineAsSecureString() => throw new PSInvalidOperationException("This host reads no secrets; give a PSCredential.");

    public override Dictionary<string, PSObject> Prompt(string caption, string message, Collection<FieldDescription> descriptions)
    {
        var answers = new Dictionary<string, PSObject>();
        foreach (var field in descriptions)
        {
            sink.Write($"{caption}\n{message}\n{field.Name}: ");
            answers[field.Name] = PSObject.AsPSObject(Ask());
        }

        return answers;
    }

    public override int PromptForChoice(string caption, string message, Collection<ChoiceDescription> choices, int defaultChoice)
    {
        var labels = choices.Select(c => c.Label.Replace("&", "", StringComparison.Ordinal)).ToArray();
        while (true)
        {
            sink.Write($"{caption}\n{message}\n{string.Join("  ", labels.Select((label, i) => $"[{i + 1}] {label}"))} (default {defaultChoice + 1}): ");
            var answer = Ask().Trim();
            if (answer.Length == 0 && defaultChoice >= 0)
            {
                return defaultChoice;
            }

            if (int.TryParse(answer, NumberStyles.None, CultureInfo.InvariantCulture, out var number) && number >= 1 && number <= labels.Length)
            {
                return number - 1;
            }

            var named = Array.FindIndex(labels, label => answer.Length > 0 && label.StartsWith(answer, StringComparison.OrdinalIgnoreCase));
            if (named >= 0)
            {
                return named;
            }
        }
    }

    public override PSCredential PromptForCredential(string caption, string message, string userName, string targetName) =>
        throw new PSInvalidOperationException("This host reads no secrets; give a PSCredential.");

    public override PSCredential PromptForCredential(string caption, string message, string userName, string targetName, PSCredentialTypes allowedCredentialTypes, PSCredentialUIOptions options) =>
        throw new PSInvalidOperationException("This host reads no secrets; give a PSCredential.");

    private string Ask() =>
        sink.CanAsk && sink.ReadLine() is { } line ? line : throw new PSInvalidOperationException("There is nobody to ask: standard input is not a terminal.");
}

internal sealed class TextRawUi(ITextSink sink) : PSHostRawUserInterface
{
    public override ConsoleColor ForegroundColor { get; set; } = ConsoleColor.Gray;

    public override ConsoleColor BackgroundColor { get; set; } = ConsoleColor.Black;

    public override Size BufferSize
    {
        get => new(sink.Width, 3000);
        set => throw new NotSupportedException();
    }

    public override Size WindowSize
    {
        get => new(sink.Width, 50);
        set => throw new NotSupportedException();
    }

    public override Coordinates CursorPosition { get; set; }

    public override int CursorSize { get; set; } = 25;

    public override bool KeyAvailable => false;

    public override Size MaxPhysicalWindowSize => WindowSize;

    public override Size MaxWindowSize => WindowSize;

    public override Coordinates WindowPosition { get; set; }

    public override string WindowTitle { get; set; } = "PitrPS";

    public override void FlushInputBuffer()
    {
    }

    public override KeyInfo ReadKey(ReadKeyOptions options) => throw new NotSupportedException();

    public override BufferCell[,] GetBufferContents(Rectangle rectangle) => throw new NotSupportedException();

    public override void SetBufferContents(Coordinates origin, BufferCell[,] contents) => throw new NotSupportedException();

    public override void SetBufferContents(Rectangle rectangle, BufferCell fill)
    {
    }

    public override void ScrollBufferContents(Rectangle source, Coordinates destination, Rectangle clip, BufferCell fill) => throw new NotSupportedException();
}
