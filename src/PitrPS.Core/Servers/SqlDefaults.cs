namespace PitrPS.Servers;

/// <summary>
/// The settings that every session of PitrPS begins with, whatever the server, database or role has set, so that values come as the same text
/// by both ways and no session waits for ever behind a lock.
/// </summary>
internal static class SqlDefaults
{
    public const string ApplicationName = "PitrPS";

    /// <summary>Sorted; every name exists from PostgreSQL 13 on and may be set by any role.</summary>
    public static IReadOnlyList<KeyValuePair<string, string>> Settings { get; } =
    [
        new("DateStyle", "ISO,YMD"),
        new("IntervalStyle", "postgres"),
        new("TimeZone", "UTC"),
        new("bytea_output", "hex"),
        new("client_encoding", "UTF8"),
        new("client_min_messages", "warning"),
        new("default_transaction_isolation", "read\\ committed"),
        new("default_transaction_read_only", "off"),
        new("extra_float_digits", "1"),
        new("idle_in_transaction_session_timeout", "0"),
        new("lock_timeout", "10s"),
        new("search_path", ""),
        new("standard_conforming_strings", "on"),
        new("statement_timeout", "0"),
    ];

    /// <summary>As PGOPTIONS and the startup packet take them (documentation, "Connecting to the Database", option <c>options</c>).</summary>
    public static string Options { get; } = string.Join(' ', Settings.Select(s => $"-c {s.Key}={s.Value}"));
}
