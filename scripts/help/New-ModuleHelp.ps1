# Writes en-US/PitrPS.dll-Help.xml (MAML, what Get-Help reads) into a built module. The words come from the XML documentation of the cmdlets,
# the syntax from PowerShell itself. Same input, same file. Runs with the core cmdlets only; started by build.ps1 in a process of its own.
param([Parameter(Mandatory)][string] $Module)

$ErrorActionPreference = 'Stop'
$documentation = [Xml.XmlDocument]::new()
$documentation.Load([IO.Path]::Combine($Module, 'bin', 'PitrPS.xml'))
$members = @{}
foreach ($member in $documentation.SelectNodes('/doc/members/member')) {
    $members[$member.GetAttribute('name')] = $member
}

$hidden = [Management.Automation.PSCmdlet]::CommonParameters + [Management.Automation.PSCmdlet]::OptionalCommonParameters
$common = [Collections.Generic.HashSet[string]]::new([string[]] $hidden)
# Those that only a cmdlet with a plan has are shown; PowerShell itself makes them, so their words are here.
$ofPlans = @{
    WhatIf  = 'Prints the full plan, with what is done already, and changes nothing. What comes out is as it would be, so that the whole pipeline can be shown.'
    Confirm = 'Shows the plan and asks before it is carried out, also where that would not be asked. -Confirm:$false carries it out without asking.'
}
$common.ExceptWith([string[]] $ofPlans.Keys)
$aliases = @{ String = 'string'; Int32 = 'int'; Int64 = 'long'; UInt32 = 'uint'; Boolean = 'bool' }

# "P:PitrPS.Servers.PgServer.Name" as Name.
function Get-ShortName([string] $Reference) {
    ($Reference -replace '^\w:' -replace '\(.*$' -replace '`\d+$').Split('.')[-1]
}

# The text of a documentation element: references by name, one space for each run of white space.
function Get-Text($Element) {
    if ($null -eq $Element) {
        return ''
    }

    $text = [Text.StringBuilder]::new()
    foreach ($node in $Element.ChildNodes) {
        $piece = switch ($node.LocalName) {
            see { if ($node.HasAttribute('langword')) { $node.GetAttribute('langword') } else { Get-ShortName $node.GetAttribute('cref') } }
            paramref { $node.GetAttribute('name') }
            '#text' { $node.Value }
            default { Get-Text $node }
        }
        $null = $text.Append($piece)
    }

    ($text.ToString() -replace '\s+', ' ').Trim()
}

# The paragraphs of an element: each <para>, or all of it as one.
function Get-Paragraph($Element) {
    if ($null -eq $Element) {
        return
    }

    $paragraphs = $Element.SelectNodes('para')
    if ($paragraphs.Count -gt 0) {
        foreach ($paragraph in $paragraphs) {
            Get-Text $paragraph
        }
    }
    else {
        Get-Text $Element
    }
}

# Code keeps its lines; what all lines are indented by goes.
function Get-Code($Element) {
    $lines = $Element.InnerText.Trim("`r", "`n").TrimEnd() -split '\r?\n'
    $indent = [int]::MaxValue
    foreach ($line in $lines) {
        if ($line.Trim()) {
            $indent = [Math]::Min($indent, $line.Length - $line.TrimStart().Length)
        }
    }

    ($lines | ForEach-Object { if ($_.Length -ge $indent) { $_.Substring($indent) } else { $_ } }) -join "`n"
}

function Get-TypeName([type] $Type) {
    $inner = [Nullable]::GetUnderlyingType($Type)
    if ($inner) {
        return Get-TypeName $inner
    }

    if ($Type.IsArray) {
        return "$(Get-TypeName $Type.GetElementType())[]"
    }

    if ($aliases.ContainsKey($Type.Name)) { $aliases[$Type.Name] } else { $Type.Name }
}

function Get-PipelineInput($Parameter) {
    $ways = @(
        if ($Parameter.ValueFromPipeline) { 'ByValue' }
        if ($Parameter.ValueFromPipelineByPropertyName) { 'ByPropertyName' }
    )
    if ($ways) { "True ($($ways -join ', '))" } else { 'False' }
}

# A default worth showing: what a new cmdlet has, where that is a plain value.
function Get-Default([object] $Cmdlet, [string] $Name) {
    $value = if ($ofPlans[$Name]) { [Management.Automation.SwitchParameter]::new($false) } else { $Cmdlet.GetType().GetProperty($Name).GetValue($Cmdlet) }
    if ($value -is [Management.Automation.SwitchParameter]) {
        return 'False'
    }

    if ($null -eq $value -or $value -is [Array] -or "$value" -eq '') {
        return 'None'
    }

    [string]::Format([Globalization.CultureInfo]::InvariantCulture, '{0}', $value)
}

$maml = 'http://schemas.microsoft.com/maml/2004/10'
$command = 'http://schemas.microsoft.com/maml/dev/command/2004/10'
$dev = 'http://schemas.microsoft.com/maml/dev/2004/10'

function Write-Paragraph([string] $Prefix, [string] $Namespace, [string] $Name, [string[]] $Paragraphs) {
    $xml.WriteStartElement($Prefix, $Name, $Namespace)
    foreach ($paragraph in $Paragraphs) {
        $xml.WriteElementString('maml', 'para', $maml, $paragraph)
    }

    $xml.WriteEndElement()
}

function Write-Parameter($Parameter, [object] $Cmdlet, [bool] $InSyntax) {
    $words = $ofPlans[$Parameter.Name]
    if (-not $words) {
        $property = $Cmdlet.GetType().GetProperty($Parameter.Name)
        $words = @(Get-Paragraph $members["P:$($property.DeclaringType.FullName).$($Parameter.Name)"].SelectSingleNode('summary'))
    }

    $type = $Parameter.ParameterType
    $xml.WriteStartElement('command', 'parameter', $command)
    $xml.WriteAttributeString('required', "$($Parameter.IsMandatory)".ToLowerInvariant())
    $xml.WriteAttributeString('variableLength', "$($type.IsArray)".ToLowerInvariant())
    $xml.WriteAttributeString('globbing', "$(@($Parameter.Attributes | Where-Object { $_ -is [Management.Automation.SupportsWildcardsAttribute] }).Count -gt 0)".ToLowerInvariant())
    $xml.WriteAttributeString('pipelineInput', (Get-PipelineInput $Parameter))
    $xml.WriteAttributeString('position', $(if ($Parameter.Position -ge 0) { "$($Parameter.Position)" } else { 'named' }))
    $xml.WriteAttributeString('aliases', $(if ($Parameter.Aliases.Count) { $Parameter.Aliases -join ', ' } else { 'none' }))
    $xml.WriteElementString('maml', 'name', $maml, $Parameter.Name)
    Write-Paragraph maml $maml description $words
    $enum = [Nullable]::GetUnderlyingType($type) ?? $type
    if ($InSyntax -and $enum.IsEnum) {
        $xml.WriteStartElement('command', 'parameterValueGroup', $command)
        foreach ($value in [Enum]::GetNames($enum)) {
            $xml.WriteElementString('command', 'parameterValue', $command, $value)
        }

        $xml.WriteEndElement()
    }

    if ($type -ne [Management.Automation.SwitchParameter]) {
        $xml.WriteStartElement('command', 'parameterValue', $command)
        $xml.WriteAttributeString('required', 'true')
        $xml.WriteAttributeString('variableLength', "$($type.IsArray)".ToLowerInvariant())
        $xml.WriteString((Get-TypeName $type))
        $xml.WriteEndElement()
    }

    $xml.WriteStartElement('dev', 'type', $dev)
    $xml.WriteElementString('maml', 'name', $maml, (Get-TypeName $type))
    $xml.WriteEndElement()
    $xml.WriteElementString('dev', 'defaultValue', $dev, (Get-Default $Cmdlet $Parameter.Name))
    $xml.WriteEndElement()
}

# The types that come in or go out, each once.
function Write-TypeList([string] $List, [string] $Item, [string[]] $Names) {
    $xml.WriteStartElement('command', $List, $command)
    foreach ($name in $Names) {
        $xml.WriteStartElement('command', $Item, $command)
        $xml.WriteStartElement('dev', 'type', $dev)
        $xml.WriteElementString('maml', 'name', $maml, $name)
        $xml.WriteEndElement()
        $xml.WriteEndElement()
    }

    $xml.WriteEndElement()
}

function Write-Command($Info) {
    $cmdlet = [Activator]::CreateInstance($Info.ImplementingType)
    $member = $members["T:$($Info.ImplementingType.FullName)"]
    $xml.WriteStartElement('command', 'command', $command)
    $xml.WriteAttributeString('xmlns', 'maml', $null, $maml)
    $xml.WriteAttributeString('xmlns', 'dev', $null, $dev)

    $xml.WriteStartElement('command', 'details', $command)
    $xml.WriteElementString('command', 'name', $command, $Info.Name)
    $xml.WriteElementString('command', 'verb', $command, $Info.Verb)
    $xml.WriteElementString('command', 'noun', $command, $Info.Noun)
    Write-Paragraph maml $maml description @(Get-Paragraph $member.SelectSingleNode('summary'))
    $xml.WriteEndElement()

    $description = @(Get-Paragraph $member.SelectSingleNode('remarks'))
    Write-Paragraph maml $maml description $(if ($description) { $description } else { @(Get-Paragraph $member.SelectSingleNode('summary')) })

    $all = [Collections.Generic.SortedDictionary[string, object]]::new([StringComparer]::OrdinalIgnoreCase)
    $xml.WriteStartElement('command', 'syntax', $command)
    foreach ($set in $Info.ParameterSets) {
        $xml.WriteStartElement('command', 'syntaxItem', $command)
        $xml.WriteElementString('maml', 'name', $maml, $Info.Name)
        $own = @($set.Parameters | Where-Object { -not $common.Contains($_.Name) })
        # As Get-Command -Syntax has them: by position, then the mandatory ones, then the rest.
        foreach ($parameter in @($own | Where-Object Position -GE 0) + @($own | Where-Object { $_.Position -lt 0 -and $_.IsMandatory }) + @($own | Where-Object { $_.Position -lt 0 -and -not $_.IsMandatory })) {
            Write-Parameter $parameter $cmdlet $true
            $all[$parameter.Name] = $parameter
        }

        $xml.WriteEndElement()
    }

    $xml.WriteEndElement()
    $xml.WriteStartElement('command', 'parameters', $command)
    foreach ($parameter in $all.Values) {
        Write-Parameter $parameter $cmdlet $false
    }

    $xml.WriteEndElement()
    Write-TypeList inputTypes inputType @($all.Values | Where-Object ValueFromPipeline | ForEach-Object { Get-TypeName ($_.ParameterType.IsArray ? $_.ParameterType.GetElementType() : $_.ParameterType) })
    Write-TypeList returnValues returnValue @($Info.OutputType | ForEach-Object { Get-TypeName $_.Type })

    $xml.WriteStartElement('command', 'examples', $command)
    $number = 0
    foreach ($example in $member.SelectNodes('example')) {
        $number++
        $xml.WriteStartElement('command', 'example', $command)
        $xml.WriteElementString('maml', 'title', $maml, "-------------- Example $number --------------")
        $xml.WriteElementString('dev', 'code', $dev, (Get-Code $example.SelectSingleNode('code')))
        # The empty one keeps the next example's title away.
        Write-Paragraph dev $dev remarks (@(foreach ($paragraph in $example.SelectNodes('para')) { Get-Text $paragraph }) + '')
        $xml.WriteEndElement()
    }

    $xml.WriteEndElement()
    $xml.WriteStartElement('command', 'relatedLinks', $command)
    foreach ($topic in @($member.SelectNodes('seealso') | ForEach-Object { (Get-ShortName $_.GetAttribute('cref')) -creplace 'Command$' -creplace '^([A-Z][a-z]+)', '$1-' }) + 'about_PitrPS') {
        $xml.WriteStartElement('maml', 'navigationLink', $maml)
        $xml.WriteElementString('maml', 'linkText', $maml, $topic)
        $xml.WriteEndElement()
    }

    $xml.WriteEndElement()
    $xml.WriteEndElement()
}

Import-Module $Module
$settings = [Xml.XmlWriterSettings]::new()
$settings.Indent = $true
$settings.NewLineChars = "`n"
$settings.Encoding = [Text.UTF8Encoding]::new($false)
$target = [IO.Path]::Combine($Module, 'en-US', 'PitrPS.dll-Help.xml')
$null = [IO.Directory]::CreateDirectory([IO.Path]::GetDirectoryName($target))
$xml = [Xml.XmlWriter]::Create($target, $settings)
$xml.WriteStartElement('helpItems', 'http://msh')
$xml.WriteAttributeString('schema', 'maml')
$infos = [Collections.Generic.SortedDictionary[string, object]]::new([StringComparer]::Ordinal)
foreach ($info in Get-Command -Module PitrPS -CommandType Cmdlet) {
    $infos[$info.Name] = $info
}

foreach ($info in $infos.Values) {
    Write-Command $info
}

$xml.WriteEndElement()
$xml.Dispose()

& "$PSScriptRoot/New-ErrorHelp.ps1" "$PSScriptRoot/../../src" $Module
