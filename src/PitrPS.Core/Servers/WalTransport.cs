namespace PitrPS.Servers;

/// <summary>How a standby's host gets at the primary's archive.</summary>
public enum WalTransport
{
    /// <summary>PitrPS mounts it over SSHFS, with a key and an account of its own.</summary>
    Sshfs,
    /// <summary>PitrPS mounts an NFS export; who may read it is the export's business.</summary>
    Nfs,
    /// <summary>It is there already, by whatever means: PitrPS mounts nothing.</summary>
    Local,
}
