using System.Text;

namespace PitrPS.Hosts;

/// <summary>How a command is run as somebody else on this connection.</summary>
internal enum SudoWay
{
    /// <summary>sudo asks for nothing.</summary>
    NoPassword,

    /// <summary>sudo wants the password, which goes ahead of the command's input in a line of its own and is used up before the command starts.</summary>
    Password,

    /// <summary>sudo wants the password for each command anew (timestamp_timeout=0) and reads it from a pipe of its own, which only the user who logged in can open.</summary>
    PasswordEachTime,
}

/// <summary>
/// What is sent to a host for a command, and how its beginning is told from what login scripts print.
/// Once the command is let in (by sudo, where that is needed) a line "pitrps-begin PID" goes to both outputs; what is before it is not the command's.
/// </summary>
internal static class CommandLine
{
    /// <summary>Exit code of the prologue when sudo did not take the password; what sudo said is on standard error, with no begin line.</summary>
    public const int Refused = 77;

    public const string Begin = "pitrps-begin ";

    /// <summary>Said on standard error before sudo is called: what follows are sudo's own words. Without it there was no shell.</summary>
    public const string BeforeSudo = "pitrps-sudo\n";

    // Where programs are, whatever the login shell thinks; /usr/sbin is not in an ordinary user's PATH on Debian.
    private const string Path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

    // umask: sudo keeps the caller's bits. cd: the login directory may be closed to the other user. The PID is the command's own, by exec; of a shell that
    // was forked $$ is another's. Neither env nor a shell of its own where there is one already: each costs milliseconds.
    private const string Started =
        "umask 022; cd / || exit 70; read -r p _ </proc/self/stat; printf '" + Begin + "%s\\n' \"$p\"; printf '" + Begin + "%s\\n' \"$p\" >&2; exec ";

    // Without sudo's help for HOME; runuser -u leaves the environment alone.
    private const string AsTheUser = "IFS=: read -r _ _ _ _ _ HOME _ <<passwd\n$(getent passwd \"$USER\")\npasswd\nHOME=${HOME:-/}; LOGNAME=$USER; export HOME USER LOGNAME\n";

    // read takes one byte at a time, so that everything after the password's line is left for the command. printf is the shell's own: no argument vector holds the password.
    private const string ReadPassword =
        """
        [ "$(command -v printf)" = printf ] || { echo 'printf is not built into /bin/sh' >&2; exit 77; }
        IFS= read -r p || exit 77

        """;

    // sudo remembers for the process that called it, so the command must be a child of this same shell: no exec.
    private const string TellOnce =
        """
        printf '%s\n' "$p" | sudo -S -p '' -v >/dev/null || exit 77
        p=

        """;

    // sudo -A asks a program, which gets the prompt as its argument: cat, and the pipe's name. Nothing of ours has to be executable (a noexec /tmp),
    // standard input stays the command's alone, and no disk sees the password. The name is gone before the password is in the pipe: one reader, once;
    // sudo's next question after a wrong password finds nothing. A writer that nobody asks is ended with the shell.
    private const string TellWhenAsked =
        """
        for t in "${XDG_RUNTIME_DIR:-/dev/shm}" /dev/shm /tmp /var/tmp; do d=$(mktemp -d "$t/.pitrps-sudo.XXXXXXXX" 2>/dev/null) && break; d=; done
        [ "$d" ] && mkfifo -m 600 "$d/p" || { echo 'no folder takes a pipe for the password' >&2; exit 77; }
        { exec 3>"$d/p" && rm -rf -- "$d" && printf '%s\n' "$p" >&3; } </dev/null >/dev/null 2>&1 &
        w=$!
        p=
        trap 'kill "$w" 2>/dev/null; rm -rf -- "$d"' EXIT
        trap 'exit 143' HUP INT TERM
        SUDO_ASKPASS=/bin/cat
        export SUDO_ASKPASS

        """;

    /// <summary>The line for the login shell.</summary>
    /// <param name="command">What to run.</param>
    /// <param name="login">The user who logged in.</param>
    /// <param name="way">How sudo is passed, where it is needed.</param>
    /// <param name="limit">After this time the host itself ends the command; null for no limit.</param>
    public static string For(RemoteCommand command, string login, SudoWay way, TimeSpan? limit) => ShellQuoting.LoginLine(Script(command, login, way, limit));

    /// <summary>What <see cref="For"/> sends, for a /bin/sh that the user who logged in has already.</summary>
    public static string Script(RemoteCommand command, string login, SudoWay way, TimeSpan? limit)
    {
        var started = new StringBuilder("LC_ALL=C; PATH=" + Path + "; export LC_ALL PATH\n");
        foreach (var (name, value) in command.Environment)
        {
            started.Append("export ").Append(name).Append('=').Append(ShellQuoting.Quote(value)).Append('\n');
        }

        started.Append(Started);
        if (limit is { } time)
        {
            // A client that is killed cannot end what it started: a command that nobody waits for ends by itself.
            started.Append("timeout -k 5 ").Append(((long)Math.Ceiling(time.TotalSeconds)).ToString(System.Globalization.CultureInfo.InvariantCulture)).Append(' ');
        }

        started.Append(ShellQuoting.Join(command.Arguments));
        if (command.Input.IsEmpty && !command.KeepsInput)
        {
            started.Append(" </dev/null");
        }

        var script = new StringBuilder("PATH=" + Path + "; LC_ALL=C; export PATH LC_ALL\n");
        if (NeedsSudo(command, login))
        {
            var inner = ShellQuoting.Join(["-H", "-u", command.User!, "--", "/bin/sh", "-c", started.ToString()]);
            script.Append("echo pitrps-sudo >&2\n").Append(way switch
            {
                SudoWay.NoPassword => "exec sudo -n " + inner,
                SudoWay.Password => ReadPassword + TellOnce + "sudo -n " + inner + "\nexit $?",
                _ => ReadPassword + TellWhenAsked + "sudo -A -p \"$d/p\" " + inner + "\nexit $?",
            });
        }
        else if (command.User is { } user && user != login)
        {
            script.Append("USER=").Append(ShellQuoting.Quote(user)).Append('\n').Append(AsTheUser)
                .Append("exec runuser -u \"$USER\" -- ").Append(ShellQuoting.Join(["/bin/sh", "-c", started.ToString()]));
        }
        else
        {
            script.Append(started);
        }

        return script.ToString();
    }

    /// <summary>Root needs no sudo, and nobody needs it to be himself.</summary>
    public static bool NeedsSudo(RemoteCommand command, string login) => login != "root" && command.User is { } user && user != login;

    /// <summary>Finds the begin line: where the command's own output starts, and its process id. Null where there is none (yet).</summary>
    public static (int Start, int ProcessId)? FindBegin(ReadOnlySpan<byte> output)
    {
        var marker = Encoding.ASCII.GetBytes(Begin);
        var from = 0;
        while (output[from..].IndexOf(marker) is >= 0 and var at)
        {
            var number = output[(from + at + marker.Length)..];
            var end = number.IndexOf((byte)'\n');
            if (end >= 0 && int.TryParse(number[..end], System.Globalization.CultureInfo.InvariantCulture, out var pid))
            {
                return (from + at + marker.Length + end + 1, pid);
            }

            if (end < 0)
            {
                return null;
            }

            from += at + marker.Length;
        }

        return null;
    }
}
