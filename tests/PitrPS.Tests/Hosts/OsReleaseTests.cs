using PitrPS.Hosts;

namespace PitrPS.Tests.Hosts;

public class OsReleaseTests
{
    [Theory]
    [InlineData("PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nID=debian\n", "Debian GNU/Linux 12 (bookworm)")]
    [InlineData("NAME=\"Ubuntu\"\nID=ubuntu\nID_LIKE=debian\nPRETTY_NAME='Ubuntu 24.04.1 LTS'\n", "Ubuntu 24.04.1 LTS")]
    [InlineData("ID=linuxmint\nID_LIKE=\"ubuntu debian\"\nPRETTY_NAME=\"Linux Mint 22\"\n", "Linux Mint 22")]
    public void Knows_the_Debian_family(string text, string name)
    {
        var facts = OsRelease.Facts(text + "PITRPS_MACHINE_ID=0123456789abcdef0123456789abcdef\n", "primary");
        Assert.Equal("debian", facts.Platform.Name);
        Assert.Equal(name, facts.OperatingSystem);
        Assert.Equal("0123456789abcdef0123456789abcdef", facts.MachineId);
        Assert.False(facts.HasSelinux);
    }

    [Theory]
    [InlineData("ID=\"centos\"\nID_LIKE=\"rhel fedora\"\nVERSION_ID=\"7\"\nPRETTY_NAME=\"CentOS Linux 7 (Core)\"\n", 7)]
    [InlineData("ID=\"centos\"\nID_LIKE=\"rhel fedora\"\nVERSION_ID=\"9\"\nPRETTY_NAME=\"CentOS Stream 9\"\n", 9)]
    [InlineData("ID=\"rhel\"\nID_LIKE=\"fedora\"\nVERSION_ID=\"8.10\"\n", 8)]
    [InlineData("ID=\"rocky\"\nID_LIKE=\"rhel centos fedora\"\nVERSION_ID=\"9.4\"\n", 9)]
    [InlineData("ID=\"almalinux\"\nID_LIKE=\"rhel centos fedora\"\nVERSION_ID=\"10.0\"\n", 10)]
    [InlineData("ID=\"ol\"\nID_LIKE=\"fedora\"\nVERSION_ID=\"8.9\"\n", 8)]
    public void Knows_the_RHEL_family_and_its_release(string text, int release)
    {
        var facts = OsRelease.Facts(text + "PITRPS_MACHINE_ID=0123456789abcdef0123456789abcdef\n\nPITRPS_SELINUX=yes\n", "primary");
        Assert.Equal("rhel", facts.Platform.Name);
        Assert.Contains($"EL-{release}-", string.Join('\n', facts.Platform.ServerSources(13, new()).SelectMany(s => s.Preview)), StringComparison.Ordinal);
        Assert.True(facts.HasSelinux);
    }

    [Theory]
    [InlineData("ID=\"amzn\"\nID_LIKE=\"fedora\"\nVERSION_ID=\"2023\"\nPRETTY_NAME=\"Amazon Linux 2023\"\n", "Amazon Linux 2023")]
    [InlineData("ID=fedora\nVERSION_ID=41\nPRETTY_NAME=\"Fedora Linux 41\"\n", "Fedora Linux 41")]
    [InlineData("ID=\"centos\"\nVERSION_ID=\"6\"\nPRETTY_NAME=\"CentOS 6\"\n", "CentOS 6")]
    [InlineData("ID=alpine\nPRETTY_NAME=\"Alpine Linux v3.20\"\n", "Alpine Linux v3.20")]
    [InlineData("", "an unknown system")]
    public void Refuses_a_family_that_it_does_not_know(string text, string name)
    {
        var error = Assert.Throws<PitrException>(() => OsRelease.Facts(text, "primary"));
        Assert.Equal("PitrPS.PlatformUnsupported", error.Id);
        Assert.Contains(name, error.Message, StringComparison.Ordinal);
    }
}
