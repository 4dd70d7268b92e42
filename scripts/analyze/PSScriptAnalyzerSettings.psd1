@{
    Severity     = @('Error', 'Warning')
    ExcludeRules = @(
        # build.ps1 and its like are scripts, not modules: their functions are their own.
        'PSUseShouldProcessForStateChangingFunctions'
        'PSUseSingularNouns'
    )
    Rules        = @{
        PSUseConsistentIndentation = @{ Enable = $true; IndentationSize = 4 }
        PSUseConsistentWhitespace  = @{ Enable = $true; IgnoreAssignmentOperatorInsideHashTable = $true }
        PSPlaceOpenBrace           = @{ Enable = $true; OnSameLine = $true }
        PSPlaceCloseBrace          = @{ Enable = $true; NewLineAfter = $true }
        PSAvoidUsingCmdletAliases  = @{ }
    }
}
