@{
    # The loader comes first: it sees to it that what the cmdlets are built on is found in a load context of its own.
    NestedModules        = @('bin/PitrPS.Loader.dll')
    RootModule           = 'bin/PitrPS.dll'
    ModuleVersion        = '0.1.0'
    GUID                 = '6b0a8b52-4a0e-4d6e-9c39-0a5b7b3f5f0e'
    Author               = 'The PitrPS authors'
    CompanyName          = 'PitrPS'
    Copyright            = '(c) The PitrPS authors. MIT License.'
    Description          = 'PostgreSQL point-in-time recovery on delayed standbys, over SSH: brings a dropped table back without a new base backup.'
    PowerShellVersion    = '7.6'
    CompatiblePSEditions = @('Core')
    FormatsToProcess     = @('PitrPS.Format.ps1xml')
    FunctionsToExport    = @()
    VariablesToExport    = @()
    AliasesToExport      = @()
    CmdletsToExport      = @(
        'Connect-PgHost', 'Disconnect-PgHost', 'Get-PgHost'
        'Install-PgServer', 'Get-PgServer'
        'Enable-WalArchive', 'Disable-WalArchive', 'Mount-WalArchive', 'Dismount-WalArchive', 'Test-WalArchive'
        'New-PgStandby', 'Remove-PgStandby', 'Reset-PgStandby', 'Set-ReplicationDelay', 'Get-ReplicationStatus'
        'Suspend-WalReplay', 'Resume-WalReplay'
        'Find-PgIncident', 'Test-RecoveryTarget', 'Invoke-PitrRecovery', 'Get-PitrRecovery', 'Restore-PgTable', 'Move-PitrRecovery', 'Complete-PitrRecovery', 'Remove-PitrClone'
        'Get-PitrOperation'
    )
    PrivateData          = @{
        PSData = @{
            Tags       = @('PostgreSQL', 'Recovery', 'PITR', 'WAL', 'Standby', 'Backup', 'SSH', 'PSEdition_Core', 'Linux', 'Windows', 'MacOS')
        }
    }
}
