using PitrPS.Incidents;
using PitrPS.Replication;
using PitrPS.Servers;
using PitrPS.Tests.Incidents;

namespace PitrPS.Tests.Servers;

/// <summary>What each major version has and has not, from the release notes; 13, 15 and 17 are tried on hosts, too.</summary>
public class PgVersionTests
{
    // The first major that has it, or that has it no more.
    [Theory]
    [InlineData(nameof(PgVersion.HasReplayPauseState), 14, true)]
    [InlineData(nameof(PgVersion.DumpsSeveralManagers), 14, true)]
    [InlineData(nameof(PgVersion.HasColumnCompression), 14, true)]
    [InlineData(nameof(PgVersion.CommitsDropStatistics), 15, true)]
    [InlineData(nameof(PgVersion.NamesImageCompression), 15, true)]
    [InlineData(nameof(PgVersion.HasArchiveLibrary), 15, true)]
    [InlineData(nameof(PgVersion.HasPublicationFilters), 15, true)]
    [InlineData(nameof(PgVersion.HasStatsTempDirectory), 15, false)]
    [InlineData(nameof(PgVersion.HasPromoteTriggerFile), 16, false)]
    public void Has_from_or_up_to_a_version(string fact, int turningPoint, bool hasFromThere)
    {
        var has = typeof(PgVersion).GetMethod(fact)!.CreateDelegate<Func<int, bool>>();
        foreach (var major in Enumerable.Range(PgVersion.Oldest, PgVersion.Newest - PgVersion.Oldest + 1))
        {
            Assert.Equal(major >= turningPoint == hasFromThere, has(major));
        }
    }

    [Theory]
    [InlineData(14, 115)]
    [InlineData(16, 115)]
    [InlineData(17, 115)]
    [InlineData(18, 119)]
    public void Finds_the_kind_of_a_relation_in_a_row_of_pg_class(int major, int offset)
    {
        // Fixed width up to there: name and namespace lie where they always do, persistence just before the kind.
        var row = new byte[160];
        "orders"u8.CopyTo(row.AsSpan(4));
        row[0] = 0x39;
        row[1] = 0x30;
        row[offset - 1] = (byte)'u';
        row[offset] = (byte)'r';
        Assert.Equal(new ClassRow(12345, "orders", 0, 0, 'u', 'r'), ClassRow.From(new HeapTuple(row), major));
    }

    [Theory]
    [InlineData(13, false)]
    [InlineData(14, true)]
    [InlineData(16, true)]
    [InlineData(18, true)]
    public void Asks_for_the_state_of_a_pause_where_it_can_be_asked_for(int major, bool asks) =>
        Assert.Equal(asks, ReplayFacts.Query(major).Contains("pg_get_wal_replay_pause_state", StringComparison.Ordinal));

    [Theory]
    [InlineData(13, 2)]
    [InlineData(14, 1)]
    [InlineData(16, 1)]
    [InlineData(18, 1)]
    public void Reads_the_WAL_once_for_each_kind_of_record_where_pg_waldump_takes_only_one(int major, int times) =>
        Assert.Equal(times, WalFilter.Of(major, ["Transaction", "Standby"], "").Passes.Count);

    [Theory]
    [InlineData(130021, false)]
    [InlineData(130022, true)]
    [InlineData(140018, false)]
    [InlineData(140019, true)]
    [InlineData(160009, false)]
    [InlineData(160010, true)]
    [InlineData(170005, false)]
    [InlineData(180000, true)]
    [InlineData(190000, true)]
    public void Knows_the_minor_versions_whose_pg_dump_cleans_the_names_in_comments(int version, bool cleans) => Assert.Equal(cleans, PgVersion.SanitizesDumpComments(version));

    [Theory]
    [InlineData(9)]
    [InlineData(11)]
    [InlineData(12)]
    public void Refuses_a_server_that_is_too_old(int major)
    {
        var server = TestServer.Of(major);
        var error = Assert.Throws<PitrException>(() => PgVersion.Require(server));
        Assert.Equal(("PitrPS.VersionUnsupported", ErrorKind.NotImplemented, server), (error.Id, error.Kind, error.Target));
        Assert.Contains($"PostgreSQL {major}", error.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(11)]
    public async Task Asks_a_server_that_is_too_old_nothing(int major)
    {
        var server = TestServer.Of(major);
        var feedback = new NoFeedback();
        Assert.Equal("PitrPS.VersionUnsupported", (await Assert.ThrowsAsync<PitrException>(() => ServerSql.OpenAsync(server, "postgres", feedback, default))).Id);
        Assert.Equal("PitrPS.VersionUnsupported", (await Assert.ThrowsAsync<PitrException>(() => StandbyPosition.ReadAsync(server, feedback, default))).Id);
    }

    [Theory]
    [InlineData(13)]
    [InlineData(18)]
    [InlineData(19)]
    public void Takes_every_version_from_the_oldest_on(int major) => PgVersion.Require(TestServer.Of(major));
}
