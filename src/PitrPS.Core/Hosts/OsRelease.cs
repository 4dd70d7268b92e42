namespace PitrPS.Hosts;

/// <summary>Reads os-release(5) and picks the platform family.</summary>
internal static class OsRelease
{
    /// <summary>The facts of a host from the text of its os-release and lines PITRPS_MACHINE_ID=…, PITRPS_SELINUX=….</summary>
    /// <exception cref="PitrException"><c>PitrPS.PlatformUnsupported</c></exception>
    public static HostFacts Facts(string text, string host)
    {
        var values = Parse(text);
        string[] ids = [values.GetValueOrDefault("ID", ""), .. values.GetValueOrDefault("ID_LIKE", "").Split(' ', StringSplitOptions.RemoveEmptyEntries)];
        var name = values.GetValueOrDefault("PRETTY_NAME", ids[0].Length > 0 ? ids[0] : "an unknown system");
        var platform = PlatformOf(ids, values.GetValueOrDefault("VERSION_ID", "")) ?? throw new PitrException("PitrPS.PlatformUnsupported", ErrorKind.NotImplemented,
            $"{host} runs {name}, which PitrPS does not support.",
            $"Use a host of the Debian family (Debian, Ubuntu) or of the RHEL family (RHEL, CentOS, Rocky, Alma, Oracle), releases {RhelPlatform.Oldest} to {RhelPlatform.Newest}.", host);
        return new HostFacts(platform, TerminalText.Clean(name), values.GetValueOrDefault("PITRPS_MACHINE_ID", ""))
        {
            HasSelinux = values.GetValueOrDefault("PITRPS_SELINUX") == "yes",
        };
    }

    private static IPlatform? PlatformOf(string[] ids, string version)
    {
        if (ids.Contains("debian") || ids.Contains("ubuntu"))
        {
            return new DebianPlatform();
        }

        // Amazon Linux and Fedora call themselves alike, but have releases of their own, for which PGDG builds nothing.
        return ids.Intersect(["rhel", "centos", "rocky", "almalinux", "ol"]).Any()
            && int.TryParse(version.Split('.')[0], System.Globalization.NumberStyles.None, System.Globalization.CultureInfo.InvariantCulture, out var release)
            && release is >= RhelPlatform.Oldest and <= RhelPlatform.Newest ? new RhelPlatform(release) : null;
    }

    private static Dictionary<string, string> Parse(string text)
    {
        var values = new Dictionary<string, string>(StringComparer.Ordinal);
        foreach (var line in text.Split('\n', StringSplitOptions.TrimEntries | StringSplitOptions.RemoveEmptyEntries))
        {
            if (line.Split('=', 2) is [var key, var value] && !key.StartsWith('#'))
            {
                values[key] = value.Length > 1 && value[0] is '"' or '\'' && value[^1] == value[0] ? value[1..^1] : value;
            }
        }

        return values;
    }
}
