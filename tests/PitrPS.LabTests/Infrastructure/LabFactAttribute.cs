namespace PitrPS.LabTests.Infrastructure;

/// <summary>A test that needs hosts; skipped, with the reason, where there can be none.</summary>
public sealed class LabFactAttribute : FactAttribute
{
    public LabFactAttribute() => Skip = Lab.WhyNot();
}

/// <summary>A theory that needs hosts; skipped, with the reason, where there can be none.</summary>
public sealed class LabTheoryAttribute : TheoryAttribute
{
    public LabTheoryAttribute() => Skip = Lab.WhyNot();
}

/// <summary>A test that cuts a host's power or cable; skipped on hosts that are not ours.</summary>
public sealed class FaultFactAttribute : FactAttribute
{
    public FaultFactAttribute() => Skip = WhyNot();

    internal static string? WhyNot() =>
        Lab.WhyNot() ?? (Environment.GetEnvironmentVariable("PITRPS_LAB_JSON") is null ? null : "Power and cable of hosts of your own are not cut.");
}

/// <summary>A theory of that kind.</summary>
public sealed class FaultTheoryAttribute : TheoryAttribute
{
    public FaultTheoryAttribute() => Skip = FaultFactAttribute.WhyNot();
}
