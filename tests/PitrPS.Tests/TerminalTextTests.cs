namespace PitrPS.Tests;

public class TerminalTextTests
{
    [Theory]
    [InlineData("plain äöü 日本\n\ttext", "plain äöü 日本\n\ttext")]
    [InlineData("\u001b[2Jgone", "\uFFFD[2Jgone")]
    [InlineData("\u009b31m", "\uFFFD31m")]
    [InlineData("a\rb\bc\u0007", "a\uFFFDb\uFFFDc\uFFFD")]
    [InlineData("\u202Egnp", "\uFFFDgnp")]
    public void Takes_away_what_a_terminal_would_obey(string text, string shown) => Assert.Equal(shown, TerminalText.Clean(text));

    [Theory]
    [InlineData("orders", "orders")]
    [InlineData("a\nall is well\t\u001b[8m", "a\uFFFDall is well\uFFFD\uFFFD[8m")]
    public void A_name_stays_on_its_line(string name, string shown) => Assert.Equal(shown, TerminalText.OneLine(name));

    [Fact]
    public void An_error_carries_no_terminal_command() =>
        Assert.Equal("table \uFFFD[31m", new PitrException("PitrPS.Test", ErrorKind.InvalidData, "table \u001b[31m", "").Message);

    [Fact]
    public void Nor_does_its_next_step() =>
        Assert.Equal("drop \uFFFD[31m", new PitrException("PitrPS.Test", ErrorKind.InvalidData, "", "drop \u001b[31m").NextStep);
}
