namespace PitrPS.Hosts;

/// <summary>sudo let the command not in, because it wants a password, or wants it in another way. The command has not run.</summary>
internal sealed class SudoPasswordWanted(PitrException error, SudoWay next) : Exception(error.Message)
{
    public PitrException Error { get; } = error;

    /// <summary>How it may be let in.</summary>
    public SudoWay Next { get; } = next;
}

/// <summary>What sudo's refusal means, from its own words (they are English under LC_ALL=C).</summary>
internal static class SudoRefusal
{
    public static Exception From(HostLogin login, object target, SudoWay way, string said)
    {
        var text = said.Trim();
        if (text.Contains("sudo: not found", StringComparison.Ordinal) || text.Contains("sudo: command not found", StringComparison.Ordinal))
        {
            return new PitrException("PitrPS.SudoRefused", ErrorKind.NotInstalled, $"There is no sudo on {login.Name}.",
                $"Install sudo there and allow {login.UserName} to run commands as root, or log in as another user.", target);
        }

        if (way != SudoWay.NoPassword && (text.Contains("incorrect password", StringComparison.Ordinal) || text.Contains("try again", StringComparison.Ordinal)
            || text.Contains("no password was provided", StringComparison.Ordinal)))
        {
            return new PitrException("PitrPS.SudoPasswordWrong", ErrorKind.AuthenticationError,
                $"sudo on {login.Name} did not take the password of {login.UserName}.", "Connect again with the right -SudoPassword.", target);
        }

        if (text.Contains("password is required", StringComparison.Ordinal))
        {
            return way switch
            {
                SudoWay.NoPassword => new SudoPasswordWanted(new PitrException("PitrPS.SudoPasswordRequired", ErrorKind.AuthenticationError,
                    $"sudo on {login.Name} wants a password of {login.UserName}, and none was given.", "Connect again with -SudoPassword, or allow NOPASSWD in sudoers.", target), SudoWay.Password),

                // It took the password and has not remembered it for the command that followed.
                SudoWay.Password => new SudoPasswordWanted(AskedInVain(login, target, text), SudoWay.PasswordEachTime),
                _ => AskedInVain(login, target, text),
            };
        }

        return new PitrException("PitrPS.SudoRefused", ErrorKind.PermissionDenied,
            $"sudo on {login.Name} does not let {login.UserName} run commands as another user: {text}",
            $"Allow {login.UserName} to run all commands in sudoers, or log in as another user.", target);
    }

    private static PitrException AskedInVain(HostLogin login, object target, string said) => new("PitrPS.SudoRefused", ErrorKind.PermissionDenied,
        $"sudo on {login.Name} asks {login.UserName} for a password in a way that PitrPS cannot answer: {said}",
        $"Give {login.UserName} NOPASSWD, or a timestamp_timeout of more than 0, in sudoers.", target);
}
