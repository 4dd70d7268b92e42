namespace PitrPS.Hosts;

/// <summary>A password or passphrase on its way to where it is used. Prints as asterisks, so that no log, error or exported object shows it.</summary>
internal sealed class Secret(string value)
{
    /// <summary>The text itself; only for the call that needs it.</summary>
    public string Reveal() => value;

    public override string ToString() => "********";
}
