BeforeDiscovery {
    Import-Module "$PSScriptRoot/../../out/PitrPS" -Force
}

BeforeAll {
    $module = Resolve-Path "$PSScriptRoot/../../out/PitrPS"
    Import-Module $module -Force
}

Describe 'PitrPS in pwsh' {
    It 'keeps its cmdlets through Import-Module -Force, twice' {
        $before = (Get-Command -Module PitrPS).Name
        Import-Module $module -Force
        Import-Module $module -Force
        (Get-Command -Module PitrPS).Name | Should -Be $before
        $before.Count | Should -BeGreaterThan 0
    }

    It 'passes PowerShell''s own test of a manifest' {
        { Test-ModuleManifest "$module/PitrPS.psd1" -ErrorAction Stop } | Should -Not -Throw
    }

    It 'has help with a synopsis and an example for <Name>' -ForEach (Get-Command -Module PitrPS | ForEach-Object { @{ Name = $_.Name } }) {
        $help = Get-Help $Name -Full
        $help.Synopsis | Should -Not -BeNullOrEmpty
        $help.Synopsis.Trim() | Should -Not -BeLike "$Name *"
        @($help.examples.example).Count | Should -BeGreaterThan 0
        $help.examples.example[0].code | Should -Match ([regex]::Escape($Name))
    }

    It 'has its about topics' {
        Get-Help about_PitrPS | Should -Match 'delayed standbys'
    }

    It 'completes cmdlets, parameters and values by Tab' {
        (TabExpansion2 'Connect-PgH').CompletionMatches.CompletionText | Should -Contain 'Connect-PgHost'
        (TabExpansion2 'Connect-PgHost -Kn').CompletionMatches.CompletionText | Should -Contain '-KnownHostsFile'
        (TabExpansion2 'Find-PgIncident -Kind Dr').CompletionMatches.CompletionText | Should -Contain 'DropTable'
    }

    It 'knows its types by name' {
        [PitrPS.Servers.Lsn]::Parse('1/2').ToString() | Should -Be '1/2'
    }
}
