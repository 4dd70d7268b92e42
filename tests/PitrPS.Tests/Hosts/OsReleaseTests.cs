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
    }

    [Theory]
    [InlineData("ID=alpine\nPRETTY_NAME=\"Alpine Linux v3.20\"\n", "Alpine Linux v3.20")]
    [InlineData("", "an unknown system")]
    public void Refuses_a_family_that_it_does_not_know(string text, string name)
    {
        var error = Assert.Throws<PitrException>(() => OsRelease.Facts(text, "primary"));
        Assert.Equal("PitrPS.PlatformUnsupported", error.Id);
        Assert.Contains(name, error.Message, StringComparison.Ordinal);
    }
}
