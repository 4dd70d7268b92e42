using PitrPS.LabTests.Infrastructure;

namespace PitrPS.LabTests.Module;

public sealed class CompletionTests
{
    [Fact]
    public void Tab_offers_cmdlets_parameters_and_values()
    {
        using var engine = new PowerShellEngine();
        Assert.Contains("Connect-PgHost", engine.Complete("Connect-PgH"));
        Assert.Contains("-KnownHostsFile", engine.Complete("Connect-PgHost -Kn"));
        Assert.Contains("DropTable", engine.Complete("Find-PgIncident -Kind Dr"));
    }
}
