using System.Management.Automation;
using System.Management.Automation.Language;
using PitrPS.Tests.Architecture;

namespace PitrPS.Tests.Runbooks;

public sealed class InventoryTests(RunbookSession session) : IClassFixture<RunbookSession>
{
    private const string Secret = "correct horse battery";

    private readonly RunbookSession _session = session.Begin();

    [Theory]
    [InlineData("Test-PitrPair")]
    [InlineData("Get-PitrStatus")]
    [InlineData("Restore-LostTable")]
    public void Wrong_use_ends_with_3_and_touches_no_host(string runbook)
    {
        (string Text, string Arguments, string Says)[] cases =
        [
            ("@{ Pairs = @(@{ Primary = 'db1'; Standby = 'db2'; Delai = '1' }) }", "", "'Delai' in a pair is not known"),
            ("@{ Pairs = @(@{ Primary = @{ Name = 'db1'; Delay = '1' }; Standby = 'db2' }) }", "", "'Delay' in Primary of a pair"),
            ("@{ Defaults = @{ Password = 'x' }; Pairs = @(@{ Primary = 'db1'; Standby = 'db2' }) }", "", "'Password' in Defaults is not known"),
            ("@{ Pairs = @(@{ Primary = 'db1'; Standby = 'db2'; Delay = 'three days' }) }", "", "three days"),
            ("@{ Pairs = @(@{ Primary = 'db1' }) }", "", "has no Standby"),
            ("@{ Pairs = @() }", "", "has no Pairs"),
            ("@{ Pairs = @(@{ Primary = $(touch /tmp/x); Standby = 'db2' }) }", "", "constants only"),
            ("'no table'", "", "no data file"),
            ("@{ Pairs = @(@{ Name = 'shop'; Primary = 'db1'; Standby = 'db2' }) }", "-Name shoe", "no pair named 'shoe'; it has: shop"),
            ("@{ Pairs = @(@{ Name = 'shop'; Primary = 'db1'; Standby = 'db2' }) }", "-Frobnicate 7", "Not understood: -Frobnicate 7"),
        ];
        foreach (var (text, arguments, says) in cases)
        {
            _session.InventoryText(text);
            var run = _session.Runbook(runbook, arguments);
            Assert.Equal((3, 0), (run.Code, run.Objects.Count));
            Assert.Contains(says, Assert.Single(run.Errors));
        }

        Assert.Empty(_session.Calls);
    }

    [Fact]
    public void Says_how_to_log_in_for_all_for_a_pair_and_for_a_host()
    {
        _session.Inventory(
            "@{ Primary = @{ Name = 'db1'; Address = '192.0.2.1'; Port = 2222; UserName = 'root' }; Standby = 'db2'; JumpHost = 'bastion' }",
            "@{ UserName = 'dba'; KeyFile = 'keys/dba'; KnownHostsFile = '/etc/pitrps/known_hosts'; Port = 22 }");
        _session.Runbook("Test-PitrPair");
        Assert.Equal(
            [
                $"JumpHost=bastion KeyFile={Path.Join(_session.Folder, "keys", "dba")} KnownHostsFile=/etc/pitrps/known_hosts Name=db2 Port=22 UserName=dba",
                $"Address=192.0.2.1 JumpHost=bastion KeyFile={Path.Join(_session.Folder, "keys", "dba")} KnownHostsFile=/etc/pitrps/known_hosts Name=db1 Port=2222 UserName=root",
            ], Logins());
    }

    [Fact]
    public void A_credential_of_SecretManagement_goes_before_the_key_file_and_is_never_seen()
    {
        _session.Keep("login", "dba", Secret);
        _session.Keep("sudo", null, Secret);
        _session.Inventory("@{ Primary = 'db1'; Standby = 'db2'; KeyFile = 'keys/dba'; CredentialSecret = 'login'; SudoPasswordSecret = 'sudo'; Vault = 'night' }");
        var run = _session.Runbook("Test-PitrPair");
        Assert.Equal(0, run.Code);
        Assert.Contains("secret login night", _session.Calls);
        Assert.Equal(["Credential=System.Management.Automation.PSCredential Name=db2 SudoPassword=System.Security.SecureString", "Credential=System.Management.Automation.PSCredential Name=db1 SudoPassword=System.Security.SecureString"], Logins());
        Assert.DoesNotContain(Secret, run.Text);
        Assert.Equal(Secret, $"{_session.Invoke("$logins[0].Credential.GetNetworkCredential().Password").Single()}");
    }

    [Fact]
    public void The_passphrase_of_the_key_file_is_a_secret_too()
    {
        _session.Keep("phrase", null, Secret);
        _session.Inventory("@{ Primary = 'db1'; Standby = 'db2'; KeyFile = '/keys/dba'; KeyPassphraseSecret = 'phrase' }");
        Assert.Equal(0, _session.Runbook("Test-PitrPair").Code);
        Assert.Equal("KeyFile=/keys/dba KeyPassphrase=System.Security.SecureString Name=db2", Logins()[0]);
    }

    [Fact]
    public void Without_SecretManagement_the_key_file_is_used_and_a_warning_says_so()
    {
        _session.Inventory("@{ Primary = 'db1'; Standby = 'db2'; KeyFile = '/keys/dba'; CredentialSecret = 'login' }");
        var run = _session.Runbook("Test-PitrPair");
        Assert.Equal(0, run.Code);
        Assert.Contains("'login'", run.Warnings[0]);
        Assert.Equal("KeyFile=/keys/dba Name=db2", Logins()[0]);
    }

    [Fact]
    public void A_secret_of_another_kind_is_a_failure_of_that_host_which_does_not_show_it()
    {
        _session.Invoke($"$kept_login = '{Secret}'; function Get-Secret {{ [CmdletBinding()] param($Name, $Vault) $kept_login }}");
        _session.Inventory("@{ Primary = @{ Name = 'db1'; KeyFile = '/keys/dba' }; Standby = @{ Name = 'db2'; CredentialSecret = 'login' } }");
        var run = _session.Runbook("Test-PitrPair");
        Assert.Equal(2, run.Code);
        Assert.Equal(["Connect: Failure"], run.NotOk("Check"));
        Assert.Contains("is not a PSCredential", run.Text);
        Assert.DoesNotContain(Secret, run.Text);
    }

    [Fact]
    public void The_example_is_an_inventory()
    {
        _session.InventoryText(File.ReadAllText(Path.Join(Code.Root, "scripts", "runbooks", "inventory.example.psd1")));
        _session.Invoke("$down = 'db8'");
        var run = _session.Runbook("Get-PitrStatus");
        Assert.Equal(["shop", "shop", "crm", "crm", "erp", "erp", "web", "web"], run.Each("Pair"));
    }

    [Theory]
    [InlineData("Test-PitrPair")]
    [InlineData("Get-PitrStatus")]
    [InlineData("Restore-LostTable")]
    public void Each_runbook_has_help_for_itself_its_exit_codes_and_each_parameter(string runbook)
    {
        var script = Parser.ParseFile(Path.Join(Code.Root, "scripts", "runbooks", runbook + ".ps1"), out _, out _);
        var help = script.GetHelpContent();
        Assert.NotEmpty(help.Synopsis);
        Assert.NotEmpty(help.Examples);
        Assert.Contains("exit code", help.Outputs.Single());
        Assert.All(script.ParamBlock.Parameters, p => Assert.Contains(p.Name.VariablePath.UserPath.ToUpperInvariant(), help.Parameters.Keys));
    }

    private string[] Logins() =>
        [.. _session.Invoke("foreach ($login in $logins) { ([string[]] $login.Keys | ForEach-Object { \"$_=$($login[$_])\" }) -join '|' }")
            .Select(l => string.Join(' ', $"{l}".Split('|').Where(w => !w.StartsWith("ErrorAction=", StringComparison.Ordinal)).Order(StringComparer.Ordinal)))];
}
