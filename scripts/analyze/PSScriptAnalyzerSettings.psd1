@{
    Severity     = @('Error', 'Warning')
    ExcludeRules = @(
        # build.ps1 and its like are scripts, not modules: their functions are their own.
        'PSUseShouldProcessForStateChangingFunctions'
        'PSUseSingularNouns'
        # Neither sees a use in another scope: Pester's blocks, functions of a script.
        'PSUseDeclaredVarsMoreThanAssignments'
        'PSReviewUnusedParameter'
    )
    Rules        = @{
        PSUseConsistentIndentation = @{ Enable = $true; IndentationSize = 4 }
        PSUseConsistentWhitespace  = @{ Enable = $true; IgnoreAssignmentOperatorInsideHashTable = $true }
        PSPlaceOpenBrace           = @{ Enable = $true; OnSameLine = $true }
        PSPlaceCloseBrace          = @{ Enable = $true; NewLineAfter = $true }
        PSAvoidUsingCmdletAliases  = @{ }
    }
}
