# The cmdlets against two test hosts, as somebody at a pwsh prompt has them. The hosts are made here, in the lab that PITRPS_LAB names, and taken away again;
# with PITRPS_LAB_JSON they are hosts of the user's own.
BeforeDiscovery {
    $noLab = -not $env:PITRPS_LAB_JSON -and ((id -u) -ne 0 -or -not (Get-Command systemd-nspawn -ErrorAction Ignore))
}

Describe 'Hosts' -Skip:$noLab {
    BeforeAll {
        Import-Module "$PSScriptRoot/../../out/PitrPS" -Force
        if (-not $env:PITRPS_LAB -and -not $env:PITRPS_LAB_JSON) {
            $env:PITRPS_LAB = '/var/lib/pitrps-lab-tests'
        }

        if (-not $env:PITRPS_LAB_JSON) {
            & "$PSScriptRoot/../lab/lab" create primary standby
        }

        $hosts = (Get-Content ($env:PITRPS_LAB_JSON ?? "$env:PITRPS_LAB/lab.json") -Raw | ConvertFrom-Json).hosts
        $login = @{ UserName = $hosts[0].user; KeyFile = $hosts[0].keyFile; KnownHostsFile = $hosts[0].knownHosts }
        $primaryHost = $hosts | Where-Object name -EQ primary | Connect-PgHost @login
        $standbyHost = $hosts | Where-Object name -EQ standby | Connect-PgHost @login
    }

    AfterAll {
        Disconnect-PgHost $primaryHost, $standbyHost -ErrorAction Ignore
        if (-not $env:PITRPS_LAB_JSON) {
            & "$PSScriptRoot/../lab/lab" destroy primary standby
        }
    }

    It 'shows what it is connected to in a table' {
        $table = Get-PgHost | Format-Table | Out-String -Width 200
        $table | Should -Match 'Name\s+Address\s+Port\s+User\s+System\s+Connected'
        $table | Should -Match 'primary\s+\S+\s+\d+\s+\S+\s+Debian'
    }

    It 'prints the plan of a whole pipeline with -WhatIf, and changes nothing' {
        $transcript = New-TemporaryFile
        $null = Start-Transcript $transcript
        try {
            $primary = $primaryHost | Install-PgServer -WhatIf | Enable-WalArchive -Path /var/mnt/archive_wal_dir -WhatIf
            $standby = $standbyHost | Install-PgServer -WhatIf | Mount-WalArchive -Primary $primary -MountPoint /mnt/archive_wal_dir -WhatIf |
                New-PgStandby -Primary $primary -WhatIf | Set-ReplicationDelay -Delay 3.00:00:00 -WhatIf
        }
        finally {
            $null = Stop-Transcript
        }

        $standby.IsPlanned | Should -BeTrue
        $standby.ReplicationDelay | Should -Be ([timespan]'3.00:00:00')
        $text = Get-Content $transcript -Raw
        foreach ($cmdlet in 'Install-PgServer', 'Enable-WalArchive', 'Mount-WalArchive', 'New-PgStandby', 'Set-ReplicationDelay') {
            $text | Should -Match $cmdlet
        }

        $primaryHost, $standbyHost | Get-PgServer | Should -BeNullOrEmpty
        Remove-Item $transcript
    }

    It 'installs a server, finds it from a new session, and has nothing to do the second time' {
        $server = $primaryHost | Install-PgServer -Confirm:$false
        $server.IsRunning | Should -BeTrue
        $found = $primaryHost | Get-PgServer
        $found.Id | Should -Be $server.Id
        ($found | Format-Table | Out-String -Width 200) | Should -Match "$([regex]::Escape($found.Id))\s+\d+\s+Primary\s+running"
        ($found | Format-List | Out-String -Width 200) | Should -Match 'DataDirectory\s+: /'
        $primaryHost | Install-PgServer -Confirm:$false -InformationVariable said | Out-Null
        "$said" | Should -Match 'nothing to do'
    }

    It 'has an id and a next step in each error, and goes on with the next host' {
        $connected = 'no-such-host.invalid', $primaryHost.Address |
            Connect-PgHost -UserName $login.UserName -KeyFile $login.KeyFile -KnownHostsFile $login.KnownHostsFile -ErrorAction SilentlyContinue -ErrorVariable failed
        @($connected).Count | Should -Be 1
        $failed[0].FullyQualifiedErrorId | Should -BeLike 'PitrPS.*'
        $failed[0].ErrorDetails.RecommendedAction | Should -Not -BeNullOrEmpty
    }
}
