using PitrPS.Hosts;
using PitrPS.Replication;
using PitrPS.Servers;

namespace PitrPS.Tests.Replication;

public class StandbyNamesTests
{
    private static StandbyNames Of(string host, string machineId = "0123456789abcdef") => StandbyNames.Of(new PgServer
    {
        Host = new PgHost(host, host, 22, "dba", new HostFacts(new DebianPlatform(), "Debian", machineId), null!),
        Name = "15/main",
        Version = 15,
        Port = 5432,
        DataDirectory = "/d",
        ConfigDirectory = "/c",
        BinDirectory = "/b",
    });

    [Fact]
    public void A_slot_name_has_only_what_a_slot_may_have() => Assert.Matches("^[a-z0-9_]{1,63}$", Of("Stand-By.Example.ORG").Slot);

    [Fact]
    public void A_long_host_name_still_fits()
    {
        var names = Of(new string('x', 200));
        Assert.Equal(63, names.Slot.Length);
        Assert.EndsWith("_15_main_012345", names.Slot, StringComparison.Ordinal);
    }

    [Fact]
    public void Two_hosts_of_one_name_differ() => Assert.NotEqual(Of("standby", "aaaaaaaa").Slot, Of("standby", "bbbbbbbb").Slot);
}
