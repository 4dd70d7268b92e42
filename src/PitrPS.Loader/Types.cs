using System.Runtime.CompilerServices;
using PitrPS;
using PitrPS.Hosts;
using PitrPS.Incidents;
using PitrPS.Recovery;
using PitrPS.Replication;
using PitrPS.Rescue;
using PitrPS.Servers;

// PowerShell looks for [PitrPS.Servers.Lsn] in the default load context only. It finds it here, and is sent on to the one in ours.
[assembly: TypeForwardedTo(typeof(ErrorKind))]
[assembly: TypeForwardedTo(typeof(PitrException))]
[assembly: TypeForwardedTo(typeof(PgHost))]
[assembly: TypeForwardedTo(typeof(Lsn))]
[assembly: TypeForwardedTo(typeof(PgServer))]
[assembly: TypeForwardedTo(typeof(PrimaryLink))]
[assembly: TypeForwardedTo(typeof(ServerRole))]
[assembly: TypeForwardedTo(typeof(IncidentKind))]
[assembly: TypeForwardedTo(typeof(IncidentTable))]
[assembly: TypeForwardedTo(typeof(PgIncident))]
[assembly: TypeForwardedTo(typeof(PitrRecovery))]
[assembly: TypeForwardedTo(typeof(RecoveryState))]
[assembly: TypeForwardedTo(typeof(RecoveryTarget))]
[assembly: TypeForwardedTo(typeof(ConnectedStandby))]
[assembly: TypeForwardedTo(typeof(ReplayState))]
[assembly: TypeForwardedTo(typeof(ReplicationStatus))]
[assembly: TypeForwardedTo(typeof(RestoredTable))]
