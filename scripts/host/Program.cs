using System.Management.Automation;
using System.Management.Automation.Runspaces;
using PitrPS.ScriptHost;

// Runs a script or a command as `pwsh -NoProfile` would, on a machine that has no pwsh: pitrps-host -File x.ps1 args... | -Command text
var (file, command, arguments) = CommandLine.Parse(args);
if (file is null && command is null)
{
    Console.Error.WriteLine("usage: pitrps-host -File SCRIPT [ARGUMENT...] | -Command TEXT");
    return 64;
}

var sink = new TerminalSink();
var host = new TextHost(sink);
var state = InitialSessionState.CreateDefault2();
state.Variables.Add(new SessionStateVariableEntry("PSModuleAutoLoadingPreference", PSModuleAutoLoadingPreference.None, ""));
using var runspace = RunspaceFactory.CreateRunspace(host, state);
runspace.Open();

using var shell = PowerShell.Create(runspace);
using var stopped = new ManualResetEventSlim();
Console.CancelKeyPress += (_, e) =>
{
    // The scripts' finally blocks run; then we end by ourselves.
    e.Cancel = true;
    stopped.Set();
    shell.BeginStop(null, null);
};

if (file is not null)
{
    // Dot-sourced, so that the script's `exit` reaches the host.
    var script = new Command(Path.GetFullPath(file), isScript: false, useLocalScope: false);
    foreach (var argument in arguments)
    {
        script.Parameters.Add(argument);
    }

    shell.Commands.AddCommand(script);
}
else
{
    shell.AddScript(command, useLocalScope: false);
}

shell.Commands.Commands[0].MergeMyResults(PipelineResultTypes.Error, PipelineResultTypes.Output);
shell.AddCommand("Out-Default");
try
{
    shell.Invoke();
}
catch (PipelineStoppedException)
{
    sink.ClearProgress();
    return 130;
}
catch (RuntimeException e)
{
    sink.ClearProgress();
    Console.Error.WriteLine(e.ErrorRecord.InvocationInfo is { } where
        ? $"{e.ErrorRecord}\n{where.PositionMessage}\n    + {e.ErrorRecord.FullyQualifiedErrorId}"
        : e.ErrorRecord.ToString());
    return 1;
}

sink.ClearProgress();
if (stopped.IsSet)
{
    return 130;
}

// A script file's `exit N` is caught at the file's edge: it is $LASTEXITCODE and a failed pipeline.
if (shell.HadErrors)
{
    return runspace.SessionStateProxy.GetVariable("LASTEXITCODE") is int code && code != 0 ? code : command is null ? 0 : 1;
}

return host.ExitCode ?? 0;
