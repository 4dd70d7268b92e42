using System.Diagnostics;
using PitrPS.Hosts;

namespace PitrPS.Tests.Hosts;

/// <summary>For what a host is told: a real shell, and programs that only note how they were called.</summary>
public abstract class ScriptedPrograms : IDisposable
{
    private protected string Folder { get; } = Directory.CreateTempSubdirectory("pitrps-programs").FullName;

    public void Dispose()
    {
        Directory.Delete(Folder, true);
        GC.SuppressFinalize(this);
    }

    private protected void Forget() => File.Delete(Path.Join(Folder, "noted"));

    /// <summary>What the programs have noted, a line each.</summary>
    private protected string[] Noted => File.Exists(Path.Join(Folder, "noted")) ? File.ReadAllLines(Path.Join(Folder, "noted")) : [];

    /// <summary>A program of this name; it may call note.</summary>
    private protected void Program(string name, string script)
    {
        var path = Path.Join(Folder, name);
        File.WriteAllText(path, $"#!/bin/sh\nnote() {{ printf '%s\\n' \"$*\" >> '{Folder}/noted'; }}\n{script}\n");
        if (!OperatingSystem.IsWindows())
        {
            File.SetUnixFileMode(path, (UnixFileMode)0x1ED);
        }
    }

    /// <summary>Runs a command with these programs in reach.</summary>
    private protected (int Code, string Output) Run(RemoteCommand command, params (string Name, string Value)[] environment)
    {
        var start = new ProcessStartInfo(command.Arguments[0], command.Arguments.Skip(1)) { RedirectStandardInput = true, RedirectStandardOutput = true, RedirectStandardError = true };
        start.Environment["PATH"] = Folder + ":/usr/bin:/bin";
        foreach (var (name, value) in environment)
        {
            start.Environment[name] = value;
        }

        using var process = Process.Start(start)!;
        process.StandardInput.BaseStream.Write(command.Input.Span);
        process.StandardInput.Close();
        process.ErrorDataReceived += (_, _) => { };
        process.BeginErrorReadLine();
        var output = process.StandardOutput.ReadToEnd().TrimEnd('\n');
        process.WaitForExit();
        return (process.ExitCode, output);
    }
}
