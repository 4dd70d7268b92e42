using PitrPS.Hosts;

namespace PitrPS.Tests.Hosts;

/// <summary>Against lines that ssh-keygen itself wrote, hashed and plain.</summary>
public class KnownHostsTests
{
    private const string Ed = "AAAAC3NzaC1lZDI1NTE5AAAAIIYp3fJ84Dh+Rd7WAWQ6ZUWVasvFGx2UNbvPh3wdHhGL";
    private const string OtherEd = "AAAAC3NzaC1lZDI1NTE5AAAAIL4Gl9Y03NboBFvOSesvfgClsw8q28L0ykqJzOk+dxdh";
    private const string Ecdsa = "AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBHbs0wtLpjP9Jn1A6LqydNzi1qfemW7A8AwmO5EnT1yYLVXjeLj0U2j0VAbwolDC18ZBqjTtG+KmIHece3lz+GY=";

    // ssh-keygen -H made these of "primary" and "[primary]:2222".
    private const string Hashed =
        "|1|giAhPO9J+TVEDT7DLmbqM5S8Kig=|wv9rJ8Dg1/bBj8yG9p11gqxVHGM= ssh-ed25519 " + Ed + "\n" +
        "|1|TwBiP1MTEZVYGx+QBBSGagf2978=|vmzhI4vM5jSB6cy2xLFxLlZkrmc= ecdsa-sha2-nistp256 " + Ecdsa + "\n";

    private static HostKeyVerdict Check(string text, string host, string key, int port = 22) =>
        new KnownHosts(KnownHosts.Parse(text, "known_hosts")).Check(host, port, Convert.FromBase64String(key));

    [Fact]
    public void Finds_a_hashed_name()
    {
        Assert.Equal(HostKeyVerdict.Trusted, Check(Hashed, "primary", Ed));
        Assert.Equal(HostKeyVerdict.Trusted, Check(Hashed, "PRIMARY", Ed));
        Assert.Equal(HostKeyVerdict.Unknown, Check(Hashed, "standby", Ed));
        Assert.Equal(HostKeyVerdict.Changed, Check(Hashed, "primary", OtherEd));
    }

    [Fact]
    public void Finds_a_hashed_name_with_a_port()
    {
        Assert.Equal(HostKeyVerdict.Trusted, Check(Hashed, "primary", Ecdsa, 2222));
        Assert.Equal(HostKeyVerdict.Changed, Check(Hashed, "primary", OtherEd, 2222));
    }

    [Fact]
    public void A_known_host_with_a_key_of_another_type_counts_as_changed()
    {
        Assert.Equal(HostKeyVerdict.Changed, Check("primary ssh-ed25519 " + Ed, "primary", Ecdsa));
        Assert.Equal(HostKeyVerdict.Changed, Check("[primary]:2222 ssh-ed25519 " + Ed, "primary", Ecdsa, 2222));
    }

    [Fact]
    public void Tells_which_types_are_known()
    {
        var known = new KnownHosts(KnownHosts.Parse(Hashed + "primary ecdsa-sha2-nistp256 " + Ecdsa + "\n@revoked primary ssh-rsa AAAA", "f"));
        Assert.Equal(["ssh-ed25519", "ecdsa-sha2-nistp256"], known.KnownTypes("primary", 22));
        Assert.Equal(["ecdsa-sha2-nistp256"], known.KnownTypes("primary", 2222));
        Assert.Empty(known.KnownTypes("standby", 22));
    }

    [Theory]
    [InlineData("primary,10.0.0.1", "primary", true)]
    [InlineData("primary,10.0.0.1", "10.0.0.1", true)]
    [InlineData("primary,10.0.0.1", "10.0.0.2", false)]
    [InlineData("*.example.org", "db.example.org", true)]
    [InlineData("*.example.org", "example.org", false)]
    [InlineData("db?.example.org", "db1.example.org", true)]
    [InlineData("db?.example.org", "db12.example.org", false)]
    [InlineData("*.example.org,!bad.example.org", "bad.example.org", false)]
    [InlineData("!bad.example.org,*.example.org", "bad.example.org", false)]
    [InlineData("!bad.example.org,*.example.org", "good.example.org", true)]
    [InlineData("!bad.example.org", "good.example.org", false)]
    [InlineData("Primary.Example.Org", "primary.example.org", true)]
    [InlineData("primary", "primary2", false)]
    [InlineData("primary", "xprimary", false)]
    [InlineData("*", "anything", true)]
    public void Matches_names_and_patterns_as_ssh_does(string hosts, string name, bool matches) =>
        Assert.Equal(matches ? HostKeyVerdict.Trusted : HostKeyVerdict.Unknown, Check($"{hosts} ssh-ed25519 {Ed}", name, Ed));

    [Fact]
    public void A_pattern_without_a_port_is_not_about_another_port() =>
        Assert.Equal(HostKeyVerdict.Unknown, Check("primary ssh-ed25519 " + OtherEd, "primary", Ed, 2222));

    [Fact]
    public void The_same_key_without_the_port_is_good_enough_as_for_ssh() =>
        Assert.Equal(HostKeyVerdict.Trusted, Check("primary ssh-ed25519 " + Ed, "primary", Ed, 2222));

    [Fact]
    public void An_entry_for_the_port_is_stronger_than_one_without() =>
        Assert.Equal(HostKeyVerdict.Changed, Check($"primary ssh-ed25519 {Ed}\n[primary]:2222 ssh-ed25519 {OtherEd}", "primary", Ed, 2222));

    [Theory]
    [InlineData("@revoked * ssh-ed25519 ")]
    [InlineData("@revoked primary ssh-ed25519 ")]
    public void Refuses_a_revoked_key_even_where_it_is_known_too(string revoked)
    {
        Assert.Equal(HostKeyVerdict.Revoked, Check($"primary ssh-ed25519 {Ed}\n{revoked}{Ed}", "primary", Ed));
        Assert.Equal(HostKeyVerdict.Revoked, Check($"[primary]:2222 ssh-ed25519 {Ed}\n{revoked}{Ed}", "primary", Ed, 2222));
        Assert.Equal(HostKeyVerdict.Trusted, Check($"primary ssh-ed25519 {OtherEd}\n{revoked}{Ed}", "primary", OtherEd));
    }

    [Fact]
    public void A_host_of_which_only_a_revoked_key_is_known_is_not_new() =>
        Assert.Equal(HostKeyVerdict.Changed, Check("@revoked primary ssh-ed25519 " + OtherEd, "primary", Ed));

    [Fact]
    public void A_certificate_authority_does_not_vouch_for_a_plain_key()
    {
        Assert.Equal(HostKeyVerdict.NeedsCertificate, Check("@cert-authority *.example.org ssh-ed25519 " + Ed, "db.example.org", Ed));
        Assert.Equal(HostKeyVerdict.Trusted, Check($"@cert-authority *.example.org ssh-ed25519 {OtherEd}\ndb.example.org ssh-ed25519 {Ed}", "db.example.org", Ed));
    }

    [Theory]
    [InlineData("")]
    [InlineData("# primary ssh-ed25519 " + Ed)]
    [InlineData("primary ssh-ed25519")]
    [InlineData("|1|not base64|neither ssh-ed25519 " + Ed)]
    [InlineData("|2|giAhPO9J+TVEDT7DLmbqM5S8Kig=|wv9rJ8Dg1/bBj8yG9p11gqxVHGM= ssh-ed25519 " + Ed)]
    [InlineData("@unheard-of primary ssh-ed25519 " + Ed)]
    public void Lines_that_say_nothing_make_no_host_known(string text) => Assert.Equal(HostKeyVerdict.Unknown, Check(text, "primary", Ed));

    [Fact]
    public void Reads_tabs_comments_and_ends_of_line_of_other_systems() =>
        Assert.Equal(HostKeyVerdict.Trusted, Check("# hosts\r\n  primary\tssh-ed25519\t" + Ed + " a comment\r\n", "primary", Ed));

    [Fact]
    public void Prints_fingerprints_as_ssh_keygen_does()
    {
        Assert.Equal("SHA256:UnNJ49UWu9qHTiH9gL/YS5mTKcp658m7GT/snO+7vyE", KnownHosts.Fingerprint(Convert.FromBase64String(Ed)));
        Assert.Equal("SHA256:QFIOrHQorDqXEO6LQeFryZM0RrMi//Q38DgIaAy1jM4", KnownHosts.Fingerprint(Convert.FromBase64String(Ecdsa)));
    }
}
