using System.Collections.ObjectModel;
using System.Management.Automation;
using System.Management.Automation.Runspaces;
using System.Text;
using PitrPS.ScriptHost;

namespace PitrPS.LabTests.Infrastructure;

/// <summary>
/// A real PowerShell engine in this process with the built module imported, and a host that keeps what it is told.
/// It has the core cmdlets only. One script at a time.
/// </summary>
public sealed class PowerShellEngine : IDisposable
{
    private readonly RecordingSink _sink;
    private readonly Runspace _runspace;

    /// <param name="import">False for an engine without the module.</param>
    /// <param name="width">Columns of its imaginary terminal.</param>
    public PowerShellEngine(bool import = true, int width = 200)
    {
        _sink = new RecordingSink(width);
        var state = InitialSessionState.CreateDefault2();
        state.Variables.Add(new SessionStateVariableEntry("PSModuleAutoLoadingPreference", PSModuleAutoLoadingPreference.None, ""));
        _runspace = RunspaceFactory.CreateRunspace(new TextHost(_sink), state);
        _runspace.Open();
        Run("$PSStyle.OutputRendering = 'PlainText'").ThrowOnError();
        if (import)
        {
            Run("Import-Module $path", ("path", RepositoryPaths.Module)).ThrowOnError();
        }
    }

    /// <summary>Runs a script to its end and returns all that came out of it; errors do not throw.</summary>
    public EngineRun Run(string script, params (string Name, object? Value)[] variables) => Start(script, verbose: false, variables).Wait();

    /// <summary>As <see cref="Run"/>, with $VerbosePreference on.</summary>
    public EngineRun RunVerbose(string script, params (string Name, object? Value)[] variables) => Start(script, verbose: true, variables).Wait();

    /// <summary>Runs a script, fails the test on any error, and returns its objects.</summary>
    public IReadOnlyList<PSObject> Get(string script, params (string Name, object? Value)[] variables) => Run(script, variables).ThrowOnError().Output;

    /// <summary>Starts a script and returns at once, so that a test can stop it (Ctrl+C).</summary>
    public RunningScript Start(string script, bool verbose = false, params (string Name, object? Value)[] variables) => Start(script, verbose, null, variables);

    /// <summary>Starts a script verbosely; each verbose line is told at once, on the pipeline's own thread.</summary>
    public RunningScript StartListening(string script, Action<string> said) => Start(script, verbose: true, said, []);

    private RunningScript Start(string script, bool verbose, Action<string>? said, (string Name, object? Value)[] variables)
    {
        foreach (var (name, value) in variables)
        {
            SetVariable(name, value);
        }

        SetVariable("VerbosePreference", verbose ? ActionPreference.Continue : ActionPreference.SilentlyContinue);
        _sink.Clear();
        var shell = PowerShell.Create(_runspace);
        shell.AddScript(script, useLocalScope: false);
        if (said is not null)
        {
            shell.Streams.Verbose.DataAdded += (_, e) => said(shell.Streams.Verbose[e.Index].Message);
        }

        return new RunningScript(shell, _sink);
    }

    /// <summary>The objects of a script as a terminal would show them, through the format views.</summary>
    public string Render(string script, params (string Name, object? Value)[] variables) =>
        Run("& {" + Environment.NewLine + script + Environment.NewLine + "} | Out-Default", variables).ThrowOnError().HostText;

    /// <summary>What Tab offers at the end of this line.</summary>
    public IReadOnlyList<string> Complete(string line)
    {
        using var shell = PowerShell.Create(_runspace);
        return [.. CommandCompletion.CompleteInput(line, line.Length, null, shell).CompletionMatches.Select(m => m.CompletionText)];
    }

    public void SetVariable(string name, object? value) => _runspace.SessionStateProxy.SetVariable(name, value);

    public object? GetVariable(string name) => _runspace.SessionStateProxy.GetVariable(name);

    public void Dispose() => _runspace.Dispose();
}

/// <summary>A script under way.</summary>
public sealed class RunningScript
{
    private readonly PowerShell _shell;
    private readonly RecordingSink _sink;
    private readonly PSDataCollection<PSObject> _output = [];
    private readonly IAsyncResult _result;

    internal RunningScript(PowerShell shell, RecordingSink sink)
    {
        _shell = shell;
        _sink = sink;
        _result = shell.BeginInvoke<PSObject, PSObject>(null, _output);
    }

    public bool HasEnded => _result.IsCompleted;

    /// <summary>The activities and states that it has reported so far.</summary>
    public IReadOnlyList<ProgressRecord> Progress => _sink.Progress;

    /// <summary>What it has written to the host so far.</summary>
    public string HostText => _sink.Text;

    /// <summary>Ctrl+C. Returns when the script has ended, with the time that took.</summary>
    public TimeSpan Stop()
    {
        var watch = System.Diagnostics.Stopwatch.StartNew();
        _shell.Stop();
        return watch.Elapsed;
    }

    public EngineRun Wait()
    {
        Exception? terminating = null;
        try
        {
            _shell.EndInvoke(_result);
        }
        catch (Exception e) when (e is RuntimeException or PipelineStoppedException)
        {
            terminating = e;
        }

        var errors = _shell.Streams.Error.ToList();
        if (terminating is RuntimeException { ErrorRecord: { } record } and not PipelineStoppedException)
        {
            errors.Add(record);
        }

        var run = new EngineRun(
            [.. _output],
            errors,
            [.. _shell.Streams.Warning.Select(w => w.Message)],
            [.. _shell.Streams.Verbose.Select(v => v.Message)],
            [.. _shell.Streams.Information.Select(i => i.MessageData?.ToString() ?? "")],
            [.. _sink.Progress],
            _sink.Text,
            WasStopped: terminating is PipelineStoppedException || _shell.InvocationStateInfo.State == PSInvocationState.Stopped);
        _shell.Dispose();
        return run;
    }
}

/// <summary>All that a script said.</summary>
public sealed record EngineRun(
    IReadOnlyList<PSObject> Output,
    IReadOnlyList<ErrorRecord> Errors,
    IReadOnlyList<string> Warnings,
    IReadOnlyList<string> Verbose,
    IReadOnlyList<string> Information,
    IReadOnlyList<ProgressRecord> Progress,
    string HostText,
    bool WasStopped)
{
    /// <summary>The stable ids of its errors, without the command's name that PowerShell appends.</summary>
    public IReadOnlyList<string> ErrorIds => [.. Errors.Select(e => e.FullyQualifiedErrorId.Split(',')[0])];

    /// <summary>Its one object.</summary>
    public PSObject Single() => Assert.Single(ThrowOnError().Output);

    /// <summary>Its one error, of this id, with a next step.</summary>
    public ErrorRecord SingleError(string id)
    {
        var error = Assert.Single(Errors);
        Assert.Equal(id, ErrorIds[0]);
        Assert.False(string.IsNullOrWhiteSpace(error.ErrorDetails?.RecommendedAction), $"{id} says nothing about what to do next.");
        return error;
    }

    public EngineRun ThrowOnError()
    {
        if (Errors.Count == 0)
        {
            return this;
        }

        var text = new StringBuilder();
        foreach (var error in Errors)
        {
            text.AppendLine($"{error.FullyQualifiedErrorId}: {error}").AppendLine(error.ErrorDetails?.RecommendedAction);
            text.AppendLine(error.Exception?.InnerException?.ToString()).AppendLine(error.ScriptStackTrace);
        }

        Assert.Fail(text.ToString());
        return this;
    }
}

/// <summary>Keeps what a host is told.</summary>
internal sealed class RecordingSink(int width) : ITextSink
{
    private readonly Lock _lock = new();
    private readonly StringBuilder _text = new();
    private readonly List<ProgressRecord> _progress = [];

    public int Width => width;

    public bool CanAsk => false;

    public string Text
    {
        get
        {
            lock (_lock)
            {
                return _text.ToString();
            }
        }
    }

    public IReadOnlyList<ProgressRecord> Progress
    {
        get
        {
            lock (_lock)
            {
                return new ReadOnlyCollection<ProgressRecord>([.. _progress]);
            }
        }
    }

    public void Write(string text)
    {
        lock (_lock)
        {
            _text.Append(text);
        }
    }

    public void WriteError(string line) => Write(line + "\n");

    public void WriteProgress(ProgressRecord record)
    {
        lock (_lock)
        {
            _progress.Add(record);
        }
    }

    public string? ReadLine() => null;

    public void Clear()
    {
        lock (_lock)
        {
            _text.Clear();
            _progress.Clear();
        }
    }
}
