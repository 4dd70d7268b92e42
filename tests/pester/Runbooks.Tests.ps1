# The runbooks as a scheduler runs them, pwsh -File, against a pair that is made here and taken away again. With PITRPS_LAB_JSON the hosts are not ours to change.
BeforeDiscovery {
    $noLab = $env:PITRPS_LAB_JSON -or (id -u) -ne 0 -or -not (Get-Command systemd-nspawn -ErrorAction Ignore)
    $runbooks = 'Test-PitrPair', 'Get-PitrStatus', 'Restore-LostTable' | ForEach-Object { @{ Name = $_ } }
}

Describe 'Runbooks in pwsh' {
    It '<Name> has help with its exit codes' -ForEach $runbooks {
        $help = Get-Help "$PSScriptRoot/../../out/PitrPS/runbooks/$Name.ps1" -Full
        $help.Synopsis | Should -Not -BeNullOrEmpty
        "$($help.returnValues.returnValue.type.name)" | Should -Match 'exit code'
        (& pwsh -NoProfile -NonInteractive -File "$PSScriptRoot/../../out/PitrPS/runbooks/$Name.ps1" -Wrong word 2>&1) -join "`n" | Should -Match 'Not understood: -Wrong word'
        $LASTEXITCODE | Should -Be 3
    }
}

Describe 'Runbooks against a pair' -Skip:$noLab {
    BeforeAll {
        Import-Module "$PSScriptRoot/../../out/PitrPS" -Force
        if (-not $env:PITRPS_LAB) {
            $env:PITRPS_LAB = '/var/lib/pitrps-lab-tests'
        }

        & "$PSScriptRoot/../lab/lab" create primary standby
        $hosts = (Get-Content "$env:PITRPS_LAB/lab.json" -Raw | ConvertFrom-Json).hosts
        $login = @{ UserName = $hosts[0].user; KeyFile = $hosts[0].keyFile; KnownHostsFile = $hosts[0].knownHosts }
        $primary = $hosts | Where-Object name -EQ primary | Connect-PgHost @login | Install-PgServer -Confirm:$false | Enable-WalArchive -Path /var/mnt/archive_wal_dir -Confirm:$false
        $standby = $hosts | Where-Object name -EQ standby | Connect-PgHost @login | Install-PgServer -Confirm:$false |
            Mount-WalArchive -Primary $primary -MountPoint /mnt/archive_wal_dir -Confirm:$false |
            New-PgStandby -Primary $primary -Confirm:$false | Set-ReplicationDelay -Delay 3.00:00:00 -Confirm:$false

        $inventory = "$TestDrive/hosts.psd1"
        Set-Content $inventory @"
@{
    Defaults = @{ UserName = '$($login.UserName)'; KeyFile = '$($login.KeyFile)'; KnownHostsFile = '$($login.KnownHostsFile)' }
    Pairs    = @(
        @{ Name = 'shop'; Delay = '3.00:00:00'; Primary = @{ Name = 'primary'; Address = '$($primary.Host.Address)' }; Standby = @{ Name = 'standby'; Address = '$($standby.Host.Address)' } }
    )
}
"@

        function Invoke-Runbook([string] $Name) {
            $said = & pwsh -NoProfile -NonInteractive -File "$PSScriptRoot/../../out/PitrPS/runbooks/$Name.ps1" -Inventory $inventory @args 2>&1
            [PSCustomObject] @{ Code = $LASTEXITCODE; Said = $said -join "`n" }
        }

        function Invoke-PrimarySql([string] $Sql) {
            & "$PSScriptRoot/../lab/lab" exec primary runuser -u postgres -- psql -X -At -c $Sql
        }
    }

    AfterAll {
        Disconnect-PgHost $primary.Host, $standby.Host -ErrorAction Ignore
        & "$PSScriptRoot/../lab/lab" destroy primary standby
    }

    It 'finds the pair well, a line for each check' {
        $run = Invoke-Runbook Test-PitrPair
        $run.Code | Should -Be 0 -Because $run.Said
        $run.Said | Should -Match '(?m)^OK +standby:15/main Delay: 3.00:00:00'
    }

    It 'writes a report that Import-Csv reads' {
        $run = Invoke-Runbook Get-PitrStatus -Path "$TestDrive/status.csv"
        $run.Code | Should -Be 0 -Because $run.Said
        $report = Import-Csv "$TestDrive/status.csv"
        $report.Role | Should -Be 'Primary', 'Standby'
        $report[1].Delay | Should -Be '3.00:00:00'
    }

    It 'lists what was dropped, and brings back what it is told to' {
        $null = Invoke-PrimarySql 'CREATE TABLE lost AS SELECT generate_series(1, 1000) AS id'
        $null = Invoke-PrimarySql 'DROP TABLE lost'
        $end = Invoke-PrimarySql 'SELECT pg_current_wal_lsn()'
        $clock = [Diagnostics.Stopwatch]::StartNew()
        while (($standby | Get-ReplicationStatus).Received -lt [PitrPS.Servers.Lsn]::Parse($end) -and $clock.Elapsed.TotalSeconds -lt 60) { }

        $run = Invoke-Runbook Restore-LostTable
        $run.Code | Should -Be 4 -Because $run.Said
        $run.Said | Should -Match 'public\.lost'
        (Invoke-Runbook Test-PitrPair).Code | Should -Be 1

        $run = Invoke-Runbook Restore-LostTable -Table lost '-Confirm:$false'
        $run.Code | Should -Be 0 -Because $run.Said
        Invoke-PrimarySql 'SELECT count(*) FROM lost' | Should -Be 1000
        (Invoke-Runbook Test-PitrPair).Code | Should -Be 0
    }
}
