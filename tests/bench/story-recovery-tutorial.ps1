<#
.SYNOPSIS
story-recovery.ps1 with a database that has the tutorial's three tables and nothing else. The way by hand copies the whole database,
so this is where PitrPS wins least.
.PARAMETER Module
The folder of the built module.
.PARAMETER Rows
Rows of each table.
#>
param(
    [string] $Module,
    [ValidateRange(1, 10000000)]
    [long] $Rows = 1800000
)

& "$PSScriptRoot/story-recovery.ps1" -Module $Module -Rows $Rows -Rest 0
