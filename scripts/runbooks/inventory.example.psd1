# An inventory for the runbooks: which standby belongs to which primary, and how to log in. It holds constants only, and no secret: only the names of secrets.
@{
    # For all pairs; a pair, or one of its hosts, may say otherwise.
    Defaults = @{
        UserName       = 'dba'
        KeyFile        = '~/.ssh/pitrps'    # relative paths begin beside this file
        KnownHostsFile = '~/.ssh/known_hosts'

        # What the nightly check takes for granted.
        Delay           = '3.00:00:00'    # the delay that the standby has to have; without it, any
        ReplayLag       = '01:00:00'      # so much later than the delay says may replay be
        ReceiveLagBytes = 256MB           # so much WAL of the primary may be missing on a standby that streams
        ArchiveAge      = '00:15:00'      # so old may the last archived segment be
        ClockSkew       = '00:01:00'      # so far apart may the clocks of a pair be: the delay goes by the standby's
    }

    Pairs    = @(
        @{ Name = 'shop'; Primary = 'shop-db1.example.com'; Standby = 'shop-db2.example.com' }

        # Of two servers on a host, this one. The standby reaches the primary under another address than the client does.
        @{
            Name           = 'crm'
            Delay          = '1.00:00:00'
            Primary        = @{ Name = 'crm-db1'; Address = '192.0.2.10'; Port = 2222; Server = '17/main'; JumpHost = 'ops@bastion.example.com' }
            Standby        = @{ Name = 'crm-db2'; Address = '192.0.2.11'; Port = 2222; Server = '17/main'; JumpHost = 'ops@bastion.example.com' }
            PrimaryAddress = '10.0.0.10'
            PrimarySshPort = 22
        }

        # Secrets by their names in SecretManagement: a PSCredential to log in with instead of a key, or SecureStrings for the key's passphrase and for sudo.
        @{ Name = 'erp'; Primary = 'erp-db1'; Standby = 'erp-db2'; CredentialSecret = 'erp-login'; SudoPasswordSecret = 'erp-sudo'; Vault = 'dba' }
        @{ Name = 'web'; Primary = 'web-db1'; Standby = 'web-db2'; KeyPassphraseSecret = 'pitrps-key' }
    )
}
