using PitrPS.Servers;

namespace PitrPS.Tests.Servers;

public class PsqlProtocolTests
{
    [Fact]
    public void Reads_rows_with_newlines_tabs_quotes_empty_strings_and_nulls()
    {
        const string Output = "1<m|a\nb\t\"'<m|<m|<m~\0" + "2<m|<m~<m|x|y<m|{1,2}\0";

        var rows = PsqlProtocol.Parse(Output, "m");

        Assert.Equal(2, rows.Count);
        Assert.Equal(["1", "a\nb\t\"'", "", null], rows[0].Values);
        Assert.Equal(["2", null, "x|y", "{1,2}"], rows[1].Values);
    }

    [Fact]
    public void A_row_of_one_empty_string_is_a_row_and_no_output_is_none()
    {
        Assert.Equal("", Assert.Single(PsqlProtocol.Parse("\0", "m"))[0]);
        Assert.Empty(PsqlProtocol.Parse("", "m"));
    }

    [Fact]
    public void Output_that_was_cut_off_is_an_error_and_not_a_shorter_result() =>
        Assert.Equal("PitrPS.RemoteOutputUnreadable", Assert.Throws<PitrException>(() => PsqlProtocol.Parse("1\02", "m")).Id);

    [Fact]
    public void The_statement_is_handed_over_as_a_literal_that_psql_does_not_read()
    {
        var script = PsqlProtocol.Script("SELECT ':x', E'\\n'; \\! rm", "m");

        Assert.Contains("""SELECT  E'SELECT '':x'', E''\\n''; \\! rm' \gexec""", script, StringComparison.Ordinal);
    }

    [Fact]
    public void Marks_differ_from_call_to_call() => Assert.NotEqual(PsqlProtocol.NewMark(), PsqlProtocol.NewMark());
}
