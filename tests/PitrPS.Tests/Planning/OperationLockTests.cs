using System.Diagnostics;
using PitrPS.Planning;
using PitrPS.Tests.Recovery;

namespace PitrPS.Tests.Planning;

/// <summary>The script that holds the lock on a host, tried for real.</summary>
public sealed class OperationLockTests : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("pitrps-lock").FullName;

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [Fact]
    public async Task It_is_held_through_signs_of_life_and_free_when_the_client_is_gone()
    {
        using var first = Start("her@there 2026-11-23T03:00:00Z Invoke-PitrRecovery");
        Assert.Equal("held", await first.StandardOutput.ReadLineAsync());
        for (var beat = 0; beat < 3; beat++)
        {
            await first.StandardInput.WriteAsync("\n");
            await first.StandardInput.FlushAsync();
            await Task.Delay(100);
        }

        using var second = Start("him@here 2026-11-23T03:00:05Z Move-PitrRecovery");
        Assert.Matches("^taken [0-9]+ her@there 2026-11-23T03:00:00Z Invoke-PitrRecovery$", await second.StandardOutput.ReadLineAsync());
        await second.WaitForExitAsync();
        Assert.Equal(75, second.ExitCode);
        Assert.False(first.HasExited);
        Assert.Equal("standby-15-main her@there 2026-11-23T03:00:00Z Invoke-PitrRecovery\n", Shell.Run(OperationLock.HeldScript, "", null, _folder).Output);

        first.StandardInput.Close();
        await first.WaitForExitAsync().WaitAsync(TimeSpan.FromSeconds(30));
        Assert.Equal("", Shell.Run(OperationLock.HeldScript, "", null, _folder).Output);
        using var third = Start("him@here 2026-11-23T03:00:09Z Move-PitrRecovery");
        Assert.Equal("held", await third.StandardOutput.ReadLineAsync());
        third.StandardInput.Close();
        await third.WaitForExitAsync();
    }

    private Process Start(string holder)
    {
        var start = new ProcessStartInfo("/bin/sh") { RedirectStandardInput = true, RedirectStandardOutput = true };
        foreach (var argument in (string[])["-c", OperationLock.HoldScript, "sh", _folder, "standby-15-main", holder])
        {
            start.ArgumentList.Add(argument);
        }

        return Process.Start(start)!;
    }
}
