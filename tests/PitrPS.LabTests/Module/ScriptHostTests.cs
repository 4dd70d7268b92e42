using System.Diagnostics;
using PitrPS.LabTests.Infrastructure;

namespace PitrPS.LabTests.Module;

/// <summary>scripts/host runs a script as pwsh -File does, where there is no pwsh.</summary>
public sealed class ScriptHostTests : IDisposable
{
    private readonly string _script = Path.Join(Path.GetTempPath(), $"pitrps-{Guid.NewGuid():N}.ps1");

    public void Dispose() => File.Delete(_script);

    [Fact]
    public void Binds_parameters_and_hands_on_the_rest()
    {
        var (code, output, _) = Run("param([string] $Task) \"$Task $($args -join '|')\"", "-Task", "Demo", "--rows", "20", "--idle");
        Assert.Equal((0, "Demo --rows|20|--idle\n"), (code, output));
    }

    [Fact]
    public void Takes_a_switch_that_is_said_to_be_off()
    {
        var (_, output, _) = Run("[CmdletBinding(SupportsShouldProcess, ConfirmImpact = 'High')] param([switch] $Keep, [switch] $Go) \"$ConfirmPreference $Keep $Go\"", "-Confirm:$false", "-Keep:$False", "-Go:$true");
        Assert.Equal("None False True\n", output);
    }

    [Theory]
    [InlineData("exit 3", 3)]
    [InlineData("exit 0", 0)]
    [InlineData("'said'", 0)]
    [InlineData("$ErrorActionPreference = 'Stop'; [int]::Parse('x')", 1)]
    [InlineData("throw 'no'", 1)]
    [InlineData("sh -c 'exit 7'; exit $LASTEXITCODE", 7)]
    [InlineData("sh -c 'exit 7'; exit 0", 0)]
    public void Ends_as_the_script_ends(string script, int expected) => Assert.Equal(expected, Run(script).Code);

    [Fact]
    public void Says_where_a_script_broke_and_why()
    {
        var (_, output, errors) = Run("'before'\nthrow 'the reason'");
        Assert.Equal("before\n", output);
        Assert.Contains("the reason", errors);
        Assert.Contains(Path.GetFileName(_script) + ":2", errors);
    }

    [Fact]
    public void Asks_nobody_when_nobody_is_there()
    {
        var (code, _, errors) = Run("$ErrorActionPreference = 'Stop'; $Host.UI.PromptForChoice('Go on?', '', @('&Yes', '&No'), 0)");
        Assert.Equal(1, code);
        Assert.Contains("nobody to ask", errors);
    }

    private (int Code, string Output, string Errors) Run(string script, params string[] arguments)
    {
        File.WriteAllText(_script, script);
        using var process = Process.Start(new ProcessStartInfo("dotnet", [Path.Join(AppContext.BaseDirectory, "pitrps-host.dll"), "-NoProfile", "-File", _script, .. arguments])
        {
            RedirectStandardInput = true,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
        })!;
        process.StandardInput.Close();
        var errors = process.StandardError.ReadToEndAsync();
        var output = process.StandardOutput.ReadToEnd();
        process.WaitForExit();
        return (process.ExitCode, output.ReplaceLineEndings("\n"), errors.Result);
    }
}
