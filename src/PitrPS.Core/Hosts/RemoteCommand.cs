using System.Text;

namespace PitrPS.Hosts;

/// <summary>
/// One command for a host: an argument vector (never a shell line), who runs it, what it reads, how long it may take.
/// Secrets travel in <see cref="Input"/> only; arguments are shown in the verbose stream and in plans.
/// </summary>
internal sealed record RemoteCommand(IReadOnlyList<string> Arguments)
{
    public static readonly TimeSpan DefaultTimeout = TimeSpan.FromSeconds(60);

    /// <summary>Null for the user who logged in; otherwise the OS user it runs as, by sudo when that is another one.</summary>
    public string? User { get; init; }

    /// <summary>Standard input; empty means that it is closed at once.</summary>
    public ReadOnlyMemory<byte> Input { get; init; }

    /// <summary>Input comes later, line by line: set by <see cref="IRemoteHost.StartAsync"/>.</summary>
    internal bool KeepsInput { get; init; }

    public TimeSpan Timeout { get; init; } = DefaultTimeout;

    /// <summary>Beside LC_ALL=C, which every command gets. Visible like arguments: no secrets.</summary>
    public IReadOnlyDictionary<string, string> Environment { get; init; } = EmptyEnvironment;

    private static readonly Dictionary<string, string> EmptyEnvironment = [];

    public static RemoteCommand Of(params string[] arguments) => new(arguments);

    /// <summary>A POSIX sh script with positional parameters; the script is fixed text, whatever varies goes into the parameters.</summary>
    public static RemoteCommand Shell(string script, params string[] parameters) => new(["/bin/sh", "-c", script, "sh", .. parameters]);

    public RemoteCommand As(string user) => this with { User = user };

    public RemoteCommand AsRoot() => As("root");

    public RemoteCommand WithInput(string text) => this with { Input = Encoding.UTF8.GetBytes(text) };

    public RemoteCommand WithTimeout(TimeSpan timeout) => this with { Timeout = timeout };

    /// <summary>As a person would type it; for plans.</summary>
    public string Display => Show(Arguments);

    /// <summary>The same in one line, a script by its first one; for the verbose stream and for errors.</summary>
    public string Brief => Show([.. Arguments.Select(a => a.IndexOf('\n', StringComparison.Ordinal) is > 0 and var end ? a[..end] + " …" : a)]);

    public override string ToString() => Display;

    private string Show(IReadOnlyList<string> arguments) => (User is null ? "" : $"[{User}] ") + ShellQuoting.Join(arguments);
}

/// <summary>What a command printed and how it ended. A command that a signal ended has 128 + signal, as a shell would say.</summary>
internal sealed record CommandResult(int ExitCode, string Output, string ErrorOutput)
{
    public bool Succeeded => ExitCode == 0;

    /// <summary>Output without the trailing newlines, as $(…) gives it.</summary>
    public string Text => Output.TrimEnd('\n', '\r');

    public string[] Lines => Text.Length == 0 ? [] : Text.Split('\n');
}
