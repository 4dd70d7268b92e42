using PitrPS.LabTests.Infrastructure;

namespace PitrPS.LabTests.Hosts;

/// <summary>A second sshd on the primary, on port 2222.</summary>
internal sealed class SecondServer : IDisposable
{
    private readonly Lab _lab;

    public SecondServer(Lab lab, string options)
    {
        _lab = lab;
        lab.Shell("primary", $"/usr/sbin/sshd -p 2222 -o PidFile=/run/sshd-second.pid {options}");
    }

    public void Dispose() => _lab.Shell("primary", "kill $(cat /run/sshd-second.pid)");
}
