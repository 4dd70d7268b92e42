using PitrPS.Hosts;

namespace PitrPS.Tests.Hosts;

public sealed class KnownHostsFilesTests : IDisposable
{
    private static readonly byte[] Key = Convert.FromBase64String("AAAAC3NzaC1lZDI1NTE5AAAAIIYp3fJ84Dh+Rd7WAWQ6ZUWVasvFGx2UNbvPh3wdHhGL");

    private readonly string _folder = Directory.CreateTempSubdirectory("pitrps").FullName;

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    private string PathOf(string name) => Path.Join(_folder, name);

    [Fact]
    public void Adds_a_key_under_the_name_and_port_that_were_asked_for()
    {
        var files = new KnownHostsFiles(PathOf("known_hosts"));
        files.Append("Primary", 22, "ssh-ed25519", Key);
        files.Append("primary", 2222, "ssh-ed25519", Key);
        Assert.Equal(
            $"primary ssh-ed25519 {Convert.ToBase64String(Key)}\n[primary]:2222 ssh-ed25519 {Convert.ToBase64String(Key)}\n",
            File.ReadAllText(PathOf("known_hosts")));
        Assert.Equal(HostKeyVerdict.Trusted, files.Read().Check("primary", 22, Key));
    }

    [Theory]
    [InlineData("standby ssh-ed25519 AAAA", "standby ssh-ed25519 AAAA\n")]
    [InlineData("standby ssh-ed25519 AAAA\n", "standby ssh-ed25519 AAAA\n")]
    [InlineData("", "")]
    public void Leaves_what_was_there_as_it_was_and_ends_its_last_line(string before, string kept)
    {
        File.WriteAllText(PathOf("known_hosts"), before);
        new KnownHostsFiles(PathOf("known_hosts")).Append("primary", 22, "ssh-ed25519", Key);
        Assert.Equal(kept + $"primary ssh-ed25519 {Convert.ToBase64String(Key)}\n", File.ReadAllText(PathOf("known_hosts")));
    }

    [Fact]
    public void Makes_the_folder_and_the_file_for_their_owner_only()
    {
        new KnownHostsFiles(PathOf("new/.ssh/known_hosts")).Append("primary", 22, "ssh-ed25519", Key);
        Assert.True(File.Exists(PathOf("new/.ssh/known_hosts")));
        if (!OperatingSystem.IsWindows())
        {
            Assert.Equal(UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute, File.GetUnixFileMode(PathOf("new/.ssh")));
            Assert.Equal(UnixFileMode.UserRead | UnixFileMode.UserWrite, File.GetUnixFileMode(PathOf("new/.ssh/known_hosts")));
        }
    }

    [Fact]
    public void Keeps_every_line_when_many_hosts_are_accepted_at_once()
    {
        var files = new KnownHostsFiles(PathOf("known_hosts"));
        Parallel.For(0, 50, i => new KnownHostsFiles(PathOf("known_hosts")).Append($"host{i}", 22, "ssh-ed25519", Key));
        var known = files.Read();
        Assert.Equal(50, known.Lines.Count);
        Assert.All(Enumerable.Range(0, 50), i => Assert.Equal(HostKeyVerdict.Trusted, known.Check($"host{i}", 22, Key)));
    }

    [Fact]
    public void Writes_through_a_link_instead_of_replacing_it()
    {
        File.WriteAllText(PathOf("real"), "");
        File.CreateSymbolicLink(PathOf("known_hosts"), PathOf("real"));
        new KnownHostsFiles(PathOf("known_hosts")).Append("primary", 22, "ssh-ed25519", Key);
        Assert.Contains("primary", File.ReadAllText(PathOf("real")), StringComparison.Ordinal);
        Assert.NotNull(File.ResolveLinkTarget(PathOf("known_hosts"), false));
    }

    [Fact]
    public void A_file_that_is_not_there_knows_no_host() =>
        Assert.Empty(new KnownHostsFiles(PathOf("nothing")).Read().Lines);

    [Fact]
    public void Says_so_when_the_file_cannot_be_written()
    {
        Directory.CreateDirectory(PathOf("known_hosts"));
        var error = Assert.Throws<PitrException>(() => new KnownHostsFiles(PathOf("known_hosts")).Append("primary", 22, "ssh-ed25519", Key));
        Assert.Equal("PitrPS.KnownHostsNotWritable", error.Id);
    }
}
