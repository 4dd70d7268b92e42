using PitrPS.Replication;

namespace PitrPS.Tests.Replication;

public class BaseBackupProgressTests
{
    private const string Output =
        "waiting for checkpoint\r     0/39562 kB (0%), 0/1 tablespace\n 19781/39562 kB (50%), 0/1 tablespace (...ib/postgresql/15/main.pitrps-new)\r";

    [Fact]
    public void The_last_line_counts() => Assert.Equal((19781L * 1024, 39562L * 1024), BaseBackupProgress.Read(Output));

    [Theory]
    [InlineData(null)]
    [InlineData("waiting for checkpoint")]
    public void Before_it_begins_nothing_is_known(string? output) => Assert.Null(BaseBackupProgress.Read(output));

    [Fact]
    public void Its_last_words_are_the_error_and_not_the_progress() =>
        Assert.Equal("pg_basebackup: error: could not write to file: No space left on device",
            BaseBackupProgress.LastWords(Output + "\npg_basebackup: error: could not write to file: No space left on device\n 20000/39562 kB (51%), 0/1 tablespace\n"));
}
