using System.Runtime.CompilerServices;

// PowerShell looks for [PitrPS.Servers.Lsn] in the default load context only. It finds it here, and is sent on to the one in ours.
[assembly: TypeForwardedTo(typeof(PitrPS.Servers.Lsn))]
