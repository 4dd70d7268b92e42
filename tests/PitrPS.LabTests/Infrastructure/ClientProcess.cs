using System.Collections.Concurrent;
using System.Diagnostics;

namespace PitrPS.LabTests.Infrastructure;

/// <summary>A PowerShell session in a process of its own, which a test can kill as a crash or a closed laptop would.</summary>
public sealed class ClientProcess : IDisposable
{
    private readonly Process _process;
    private readonly ConcurrentQueue<string> _lines = new();
    private readonly Action<string>? _said;

    /// <summary>Starts a session that imports the module, unless it is told not to, and runs the script.</summary>
    /// <param name="script">PowerShell.</param>
    /// <param name="import">False for a session without the module.</param>
    /// <param name="said">Hears of each line as soon as it was said.</param>
    public ClientProcess(string script, bool import = true, Action<string>? said = null)
    {
        _said = said;
        var begin = import ? $"Import-Module '{RepositoryPaths.Module}'\n" : "";
        _process = new Process
        {
            StartInfo = new ProcessStartInfo
            {
                FileName = "dotnet",
                ArgumentList =
                {
                    Path.Join(AppContext.BaseDirectory, "pitrps-host.dll"),
                    "-Command",
                    $"$ErrorActionPreference = 'Stop'\n{begin}{script}",
                },
                RedirectStandardInput = true,
                RedirectStandardOutput = true,
                RedirectStandardError = true,
            },
        };
        _process.OutputDataReceived += (_, e) => Keep(e.Data);
        _process.ErrorDataReceived += (_, e) => Keep(e.Data);
        _process.Start();
        _process.BeginOutputReadLine();
        _process.BeginErrorReadLine();
    }

    /// <summary>What it has said so far on both streams.</summary>
    public string Text => string.Join('\n', _lines);

    public bool HasEnded => _process.HasExited;

    /// <summary>Waits until it has said something that contains this text.</summary>
    public async Task WaitForTextAsync(string text, TimeSpan timeout)
    {
        using var cancel = new CancellationTokenSource(timeout);
        while (!Text.Contains(text, StringComparison.Ordinal))
        {
            if (_process.HasExited || cancel.IsCancellationRequested)
            {
                Assert.Fail($"The client never said '{text}'. It said:\n{Text}");
            }

            await Task.Delay(20, CancellationToken.None);
        }
    }

    /// <summary>Waits until it has ended by itself; returns its exit code.</summary>
    public async Task<int> WaitAsync(TimeSpan timeout)
    {
        using var cancel = new CancellationTokenSource(timeout);
        await _process.WaitForExitAsync(cancel.Token);
        return _process.ExitCode;
    }

    /// <summary>SIGKILL.</summary>
    public void Kill()
    {
        _process.Kill();
        _process.WaitForExit();
    }

    /// <summary>SIGKILL, by whoever hears what it says: its end cannot be waited for there.</summary>
    public void KillAndGoOn() => _process.Kill();

    public void Dispose()
    {
        if (!_process.HasExited)
        {
            Kill();
        }

        _process.Dispose();
    }

    private void Keep(string? line)
    {
        if (line is not null)
        {
            _lines.Enqueue(line);
            _said?.Invoke(line);
        }
    }
}
