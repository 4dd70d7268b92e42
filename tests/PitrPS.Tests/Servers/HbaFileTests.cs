using PitrPS.Servers;

namespace PitrPS.Tests.Servers;

public class HbaFileTests
{
    private static readonly HbaEntry Replication = new("hostssl", "replication", "pitrps_standby", "10.0.0.2/32", "scram-sha-256");

    private static readonly string[] Vendor =
    [
        "# TYPE  DATABASE        USER            ADDRESS                 METHOD",
        "",
        "local   all             postgres                                peer",
        "host    all             all             0.0.0.0/0               reject",
    ];

    [Fact]
    public void Our_lines_come_before_all_others_because_the_first_match_decides()
    {
        var lines = HbaFile.WithBlock(Vendor, "standby", [Replication]);
        Assert.Equal(
        [
            Vendor[0], Vendor[1],
            "# PitrPS begin standby",
            "hostssl\treplication\t\"pitrps_standby\"\t10.0.0.2/32\tscram-sha-256",
            "# PitrPS end standby",
            Vendor[2], Vendor[3],
        ], lines);
    }

    [Fact]
    public void Twice_is_the_same_as_once()
    {
        var once = HbaFile.WithBlock(Vendor, "standby", [Replication]);
        Assert.Equal(once, HbaFile.WithBlock(once, "standby", [Replication]));
    }

    [Fact]
    public void Taking_it_out_leaves_the_file_as_it_was() =>
        Assert.Equal(Vendor, HbaFile.WithBlock(HbaFile.WithBlock(Vendor, "standby", [Replication]), "standby", []));

    [Fact]
    public void Blocks_of_other_operations_stay()
    {
        var both = HbaFile.WithBlock(HbaFile.WithBlock(Vendor, "login", [new HbaEntry("host", "all", "pitrps", "127.0.0.1/32", "scram-sha-256")]), "standby", [Replication]);
        Assert.Contains("# PitrPS begin login", HbaFile.WithBlock(both, "standby", []));
    }

    [Fact]
    public void A_name_cannot_be_taken_for_a_keyword() =>
        Assert.Equal("local\t\"replication x\"\t\"all\"\tpeer", new HbaEntry("local", "replication x", "all", null, "peer").Render());

    [Fact]
    public void A_block_without_its_end_is_not_guessed_at() =>
        Assert.Equal("PitrPS.HbaBlockDamaged", Assert.Throws<PitrException>(() => HbaFile.WithBlock(["# PitrPS begin standby", "local all all peer"], "standby", [])).Id);
}
