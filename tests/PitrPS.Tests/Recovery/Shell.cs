using System.Diagnostics;

namespace PitrPS.Tests.Recovery;

/// <summary>Programs of this machine, for what is sent to hosts: awk conditions and shell one-liners are tried for real.</summary>
internal static class Shell
{
    /// <summary>What the shell line prints when it reads this.</summary>
    public static (int ExitCode, string Output) Run(string script, string input, string? workingDirectory = null, params string[] arguments)
    {
        var start = new ProcessStartInfo("/bin/sh") { RedirectStandardInput = true, RedirectStandardOutput = true, WorkingDirectory = workingDirectory ?? "" };
        foreach (var argument in (string[])["-c", script, "sh", .. arguments])
        {
            start.ArgumentList.Add(argument);
        }

        using var process = Process.Start(start)!;
        process.StandardInput.Write(input);
        process.StandardInput.Close();
        var output = process.StandardOutput.ReadToEnd();
        process.WaitForExit();
        return (process.ExitCode, output);
    }

    /// <summary>The lines that WalScan's awk program lets through with this condition, without its marks.</summary>
    public static string[] Awk(string condition, params string[] lines)
    {
        var (code, output) = Run("exec awk \"$1\"", string.Join('\n', lines) + "\n", null, PitrPS.Incidents.WalScan.Keep(condition));
        Assert.Equal(0, code);
        return [.. output.Split('\n', StringSplitOptions.RemoveEmptyEntries).Where(l => !l.StartsWith("@ ", StringComparison.Ordinal))];
    }
}
