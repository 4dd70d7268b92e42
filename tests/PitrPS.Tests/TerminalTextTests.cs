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

    [Fact]
    public void An_error_carries_no_terminal_command() =>
        Assert.Equal("table \uFFFD[31m", new PitrException("PitrPS.Test", ErrorKind.InvalidData, "table \u001b[31m", "").Message);
}
