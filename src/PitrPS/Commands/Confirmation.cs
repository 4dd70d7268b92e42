using System.Management.Automation;
using System.Reflection;
using PitrPS.Planning;

namespace PitrPS.Commands;

/// <summary>What PowerShell does about the question whether to go on, which it has no way to say beforehand: whether it will be asked, and whether somebody is there.</summary>
internal sealed class Confirmation(PSCmdlet cmdlet)
{
    /// <summary>True under -WhatIf, given or inherited.</summary>
    public bool IsWhatIf =>
        cmdlet.MyInvocation.BoundParameters.TryGetValue("WhatIf", out var bound)
            ? LanguagePrimitives.IsTrue(bound)
            : LanguagePrimitives.IsTrue(cmdlet.GetVariableValue("WhatIfPreference", false));

    /// <summary>PowerShell asks when the impact reaches the preference, or -Confirm was given.</summary>
    public bool WouldPrompt
    {
        get
        {
            if (IsWhatIf)
            {
                return false;
            }

            if (cmdlet.MyInvocation.BoundParameters.TryGetValue("Confirm", out var confirm))
            {
                return LanguagePrimitives.IsTrue(confirm);
            }

            var impact = cmdlet.GetType().GetCustomAttribute<CmdletAttribute>()!.ConfirmImpact;
            var preference = LanguagePrimitives.ConvertTo<ConfirmImpact>(cmdlet.GetVariableValue("ConfirmPreference", ConfirmImpact.High));
            return preference != ConfirmImpact.None && impact >= preference;
        }
    }

    /// <summary>Refuses to ask nobody.</summary>
    /// <exception cref="PitrException"><c>PitrPS.ConfirmationRequired</c></exception>
    public void RequireSomebody(Plan plan)
    {
        var ui = cmdlet.Host?.UI;
        if (ui?.RawUI is null || Console.IsInputRedirected || IsNonInteractive())
        {
            throw new PitrException("PitrPS.ConfirmationRequired", ErrorKind.InvalidOperation,
                $"{plan.Title} has to be confirmed, and there is nobody to ask.",
                "Look at the plan with -WhatIf, then run it with -Confirm:$false.", plan.Home);
        }
    }

    private static bool IsNonInteractive() =>
        Environment.GetCommandLineArgs().Skip(1).Any(a => a.Length > 3 && "-noninteractive".StartsWith(a.ToLowerInvariant().Replace("--", "-", StringComparison.Ordinal), StringComparison.Ordinal));
}
