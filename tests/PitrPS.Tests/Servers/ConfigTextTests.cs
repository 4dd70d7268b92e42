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
    public void Takes_settings_out_and_puts_them_back_where_they_were()
    {
        string[] lines = ["# Do not edit", "a = '1'", "primary_conninfo = 'host=x'", "A = '2' # twice", ""];
        var (rest, taken) = ConfigText.TakeOut(lines, ["a"]);

        Assert.Equal(["# Do not edit", "primary_conninfo = 'host=x'", ""], rest);
        Assert.Equal([new TakenLine(3, "A = '2' # twice"), new TakenLine(1, "a = '1'")], taken);
        Assert.Equal(lines, ConfigText.PutBack(rest, taken));
        Assert.Equal(["b = 1", "a = '1'", "A = '2' # twice", ""], ConfigText.PutBack(["b = 1", ""], taken));
        Assert.Equal(["a = 3", ""], ConfigText.PutBack(["a = 3", ""], taken));
    }

    [Theory]
    [InlineData("include_dir = 'conf.d'")]
    [InlineData("INCLUDE_DIR 'conf.d/'")]
    [InlineData("include_dir './conf.d'")]
    [InlineData("include_dir '/etc/postgresql/15/main/conf.d'")]
    [InlineData("include 'conf.d/50-pitrps.conf'")]
    public void Leaves_a_file_alone_that_includes_ours_already(string include)
    {
        string[] lines = ["archive_mode = off", "include 'other'", include, "port = 5432", ""];

        Assert.Same(lines, ConfigText.WithInclude(lines, "/etc/postgresql/15/main", "conf.d/50-pitrps.conf", ["archive_mode"], neighboursWin: false));
    }

    [Theory]
    [InlineData("#include_dir = 'conf.d'")]
    [InlineData("include_dir = 'other.d'")]
    [InlineData("include 'conf.d'")]
    public void Adds_the_include_at_the_end_where_there_is_none(string almost)
    {
        foreach (string[] lines in (string[][])[[almost, "port = 5432", ""], [almost, "port = 5432"]])
        {
            var included = ConfigText.WithInclude(lines, "/etc/x", "conf.d/50-pitrps.conf", [], neighboursWin: false);

            Assert.Equal([almost, "port = 5432"], included[..2]);
            Assert.Equal(new ConfigEntry("include_if_exists", "conf.d/50-pitrps.conf"), ConfigText.Parse(included[2]));
            Assert.Equal(lines, ConfigText.WithoutInclude(included));
        }
    }

    [Fact]
    public void Adds_it_after_whatever_would_otherwise_win()
    {
        string[] lines = ["include_dir 'conf.d'", "archive_mode = off", ""];
        string[] With(string[] of, string name, bool neighboursWin = false) => ConfigText.WithInclude(of, "/etc/x", "conf.d/50-pitrps.conf", [name], neighboursWin);

        Assert.Equal(4, With(lines, "archive_mode").Length);
        Assert.Same(lines, With(lines, "archive_command"));

        // A file of the same directory that is read later, and one that is included later, which nobody has looked into.
        Assert.Equal(4, With(lines, "archive_command", neighboursWin: true).Length);
        Assert.Equal(5, With([.. lines[..2], "include '/etc/more.conf'", ""], "archive_command").Length);

        // Once and last, however often something comes after it.
        var again = With([.. With(lines, "archive_mode")[..^1], "archive_mode = always", ""], "archive_mode");
        Assert.Equal(5, again.Length);
        Assert.True(ConfigText.IsOurInclude(again[3]));
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
