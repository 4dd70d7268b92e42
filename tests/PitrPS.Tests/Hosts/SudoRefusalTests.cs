using PitrPS.Hosts;

namespace PitrPS.Tests.Hosts;

/// <summary>sudo's own words, as sudo 1.9 says them under LC_ALL=C.</summary>
public class SudoRefusalTests
{
    private static readonly HostLogin Login = new() { Name = "primary", Address = "primary", UserName = "dba" };

    [Theory]
    [InlineData("sudo: a password is required", "PitrPS.SudoPasswordWrong", true, "sudo: 1 incorrect password attempt")]
    [InlineData("Sorry, try again.\nsudo: no password was provided\nsudo: 1 incorrect password attempt", "PitrPS.SudoPasswordWrong", true, null)]
    [InlineData("Sorry, user dba may not run sudo on primary.", "PitrPS.SudoRefused", true, null)]
    [InlineData("dba is not in the sudoers file.  This incident will be reported.", "PitrPS.SudoRefused", false, null)]
    [InlineData("/bin/sh: 2: exec: sudo: not found", "PitrPS.SudoRefused", false, null)]
    [InlineData("sudo: sorry, you must have a tty to run sudo", "PitrPS.SudoRefused", false, null)]
    public void Tells_why_sudo_let_nothing_in(string said, string id, bool withPassword, string? more)
    {
        var error = SudoRefusal.From(Login, "primary", withPassword ? SudoWay.Password : SudoWay.NoPassword, said + (more is null ? "" : "\n" + more));
        Assert.Equal(id, Assert.IsType<PitrException>(error).Id);
    }

    [Fact]
    public void A_password_that_is_wanted_can_still_be_given() =>
        Assert.Equal("PitrPS.SudoPasswordRequired",
            Assert.IsType<SudoPasswordWanted>(SudoRefusal.From(Login, "primary", SudoWay.NoPassword, "sudo: a password is required\n")).Error.Id);

    [Fact]
    public void A_password_that_was_taken_and_not_remembered_is_given_for_each_command()
    {
        var wanted = Assert.IsType<SudoPasswordWanted>(SudoRefusal.From(Login, "primary", SudoWay.Password, "sudo: a password is required\n"));
        Assert.Equal(SudoWay.PasswordEachTime, wanted.Next);
        Assert.Equal("PitrPS.SudoRefused", wanted.Error.Id);
        Assert.Equal("PitrPS.SudoRefused", Assert.IsType<PitrException>(SudoRefusal.From(Login, "primary", SudoWay.PasswordEachTime, "sudo: a password is required\n")).Id);
        Assert.Equal("PitrPS.SudoPasswordWrong", Assert.IsType<PitrException>(SudoRefusal.From(Login, "primary", SudoWay.PasswordEachTime,
            "Sorry, try again.\n/bin/cat: /dev/shm/.pitrps-sudo.x/p: No such file or directory\nsudo: no password was provided\nsudo: 1 incorrect password attempt\n")).Id);
    }
}
