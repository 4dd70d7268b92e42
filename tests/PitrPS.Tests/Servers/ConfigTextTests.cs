using PitrPS.Servers;

namespace PitrPS.Tests.Servers;

public class ConfigTextTests
{
    [Theory]
    [InlineData("port = 5432", "port", "5432")]
    [InlineData("  port 5432 # comment", "port", "5432")]
    [InlineData("port=5432\r", "port", "5432")]
    [InlineData("Port\t=\t'5432'", "Port", "5432")]
    [InlineData("archive_command = 'test ! -f /a/%f && cp %p /a/%f'   # x 'y'", "archive_command", "test ! -f /a/%f && cp %p /a/%f")]
    [InlineData("x.y = 'it''s'", "x.y", "it's")]
    [InlineData(@"log_line_prefix = 'a\'b\\c\n\101#'", "log_line_prefix", "a'b\\c\nA#")]
    [InlineData("data_directory = '/var/lib/postgresql/15/main'\t\t# use data in another directory", "data_directory", "/var/lib/postgresql/15/main")]
    [InlineData("include_dir 'conf.d'", "include_dir", "conf.d")]
    [InlineData("shared_buffers = 128MB", "shared_buffers", "128MB")]
    [InlineData("autovacuum_vacuum_scale_factor = -0.5", "autovacuum_vacuum_scale_factor", "-0.5")]
    [InlineData("restore_command = ''", "restore_command", "")]
    public void Reads_what_the_server_reads(string line, string name, string value) =>
        Assert.Equal(new ConfigEntry(name, value), ConfigText.Parse(line));

    [Theory]
    [InlineData("")]
    [InlineData("   # port = 5432")]
    [InlineData("#port = 5432")]
    [InlineData("port")]
    [InlineData("port = ")]
    [InlineData("port = # 5432")]
    [InlineData("port = '5432")]
    [InlineData("port = 5432 5433")]
    [InlineData("port = 'a' b")]
    [InlineData("= 3")]
    public void Sees_no_setting_where_the_server_sees_none(string line) => Assert.Null(ConfigText.Parse(line));

    [Theory]
    [InlineData("plain")]
    [InlineData("it's")]
    [InlineData(@"C:\x\'y''")]
    [InlineData("two\nlines\r")]
    [InlineData("\\")]
    [InlineData("'")]
    [InlineData("# no comment")]
    [InlineData("grün ☃")]
    [InlineData("")]
    public void What_is_rendered_is_read_back(string value) =>
        Assert.Equal(new ConfigEntry("a.b", value), ConfigText.Parse(ConfigText.Render(new ConfigEntry("a.b", value))));

    [Fact]
    public void Random_values_survive_rendering_and_reading()
    {
        var random = new Random(4711);
        const string Alphabet = "abc'\\\n\r\t #=\"$%0017xné";
        for (var i = 0; i < 5000; i++)
        {
            var value = string.Concat(Enumerable.Range(0, random.Next(12)).Select(_ => Alphabet[random.Next(Alphabet.Length)]));
            Assert.Equal(value, ConfigText.Parse("k = " + ConfigText.Quote(value) + " # c")?.Value);
        }
    }

    [Fact]
    public void The_last_assignment_counts_whatever_its_case() =>
        Assert.Equal("b", ConfigText.Values(["Restore_Command = a", "restore_command = 'b'"])["restore_command"]);

    [Fact]
    public void Takes_settings_out_and_says_what_they_were()
    {
        var (lines, removed) = ConfigText.Without(["# Do not edit", "a = '1'", "primary_conninfo = 'host=x'", "A = '2'"], ["a"]);

        Assert.Equal(["# Do not edit", "primary_conninfo = 'host=x'"], lines);
        Assert.Equal("2", Assert.Single(removed).Value);
    }

    [Theory]
    [InlineData("include_dir = 'conf.d'")]
    [InlineData("INCLUDE_DIR 'conf.d/'")]
    [InlineData("include_dir './conf.d'")]
    [InlineData("include_dir '/etc/postgresql/15/main/conf.d'")]
    public void Leaves_a_file_alone_that_includes_the_directory_already(string include)
    {
        string[] lines = ["archive_mode = off", include, "port = 5432"];

        Assert.Same(lines, ConfigText.WithIncludeDirectory(lines, "/etc/postgresql/15/main", "conf.d", ["archive_mode"]));
    }

    [Theory]
    [InlineData("#include_dir = 'conf.d'")]
    [InlineData("include_dir = 'other.d'")]
    [InlineData("include 'conf.d'")]
    public void Adds_the_include_at_the_end_where_there_is_none(string almost)
    {
        var lines = ConfigText.WithIncludeDirectory([almost, "port = 5432"], "/etc/x", "conf.d", []);

        Assert.Equal([almost, "port = 5432"], lines[..2]);
        Assert.Equal(new ConfigEntry("include_dir", "conf.d"), ConfigText.Parse(lines[2]));
    }

    [Fact]
    public void Adds_it_again_after_a_line_that_would_otherwise_win()
    {
        string[] lines = ["include_dir 'conf.d'", "archive_mode = off"];

        Assert.Equal(3, ConfigText.WithIncludeDirectory(lines, "/etc/x", "conf.d", ["archive_mode"]).Length);
        Assert.Same(lines, ConfigText.WithIncludeDirectory(lines, "/etc/x", "conf.d", ["archive_command"]));
    }
}

public class SettingValueTests
{
    [Theory]
    [InlineData("on", "on", null, "bool")]
    [InlineData("true", "on", null, "bool")]
    [InlineData("f", "off", null, "bool")]
    [InlineData("60", "60", "s", "integer")]
    [InlineData("1min", "60", "s", "integer")]
    [InlineData("3d", "259200000", "ms", "integer")]
    [InlineData("259200000", "259200000", "ms", "integer")]
    [InlineData("128MB", "16384", "8kB", "integer")]
    [InlineData("1 GB", "1024", "MB", "integer")]
    [InlineData("-1", "-1", "MB", "integer")]
    [InlineData("1.5h", "5400", "s", "integer")]
    [InlineData("0.50", "0.5", null, "real")]
    [InlineData("Replica", "replica", null, "enum")]
    [InlineData("/x y", "/x y", null, "string")]
    public void The_same_value_written_differently(string wanted, string setting, string? unit, string type) =>
        Assert.True(SettingValue.Same(wanted, setting, unit, type));

    [Theory]
    [InlineData("off", "on", null, "bool")]
    [InlineData("", "on", null, "bool")]
    [InlineData("61", "60", "s", "integer")]
    [InlineData("1min", "60", null, "integer")]
    [InlineData("1min", "60", "kB", "integer")]
    [InlineData("x", "60", "s", "integer")]
    [InlineData("replica", "logical", null, "enum")]
    [InlineData("A", "a", null, "string")]
    public void Another_value(string wanted, string setting, string? unit, string type) =>
        Assert.False(SettingValue.Same(wanted, setting, unit, type));
}
