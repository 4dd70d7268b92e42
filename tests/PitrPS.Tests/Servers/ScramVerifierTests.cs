using PitrPS.Servers;

namespace PitrPS.Tests.Servers;

public class ScramVerifierTests
{
    // Made by PostgreSQL 15.18: CREATE ROLE x PASSWORD 'pencil', then SELECT rolpassword FROM pg_authid.
    private const string OfPencil = "SCRAM-SHA-256$4096:Xvjz8U7WM2h/C5ccoHuzTA==$cgH9bc6Wn3hLp6peGvC2VTbdivdLGLpt584TR2OZD1c=:8kxFI9fO6lMjOTEEzdeLxz5DEVmLsoNaOBtNx0dmqdw=";

    [Fact]
    public void PostgreSQLs_own_verifier_matches_its_password()
    {
        Assert.True(ScramVerifier.Matches(OfPencil, "pencil"));
        Assert.False(ScramVerifier.Matches(OfPencil, "pen"));
    }

    [Fact]
    public void Ours_matches_its_password_and_no_other()
    {
        var verifier = ScramVerifier.Create("s3cret");
        Assert.True(ScramVerifier.Matches(verifier, "s3cret"));
        Assert.False(ScramVerifier.Matches(verifier, "S3cret"));
    }

    [Theory]
    [InlineData("md5a6343a68d964ca596d9752250d54bb8a")]
    [InlineData("SCRAM-SHA-256$x:y$z")]
    [InlineData("SCRAM-SHA-256$4096:!$a:b")]
    [InlineData("")]
    public void What_is_no_verifier_matches_nothing(string text) => Assert.False(ScramVerifier.Matches(text, "pencil"));
}
