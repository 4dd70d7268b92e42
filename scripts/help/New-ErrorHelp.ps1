# Writes en-US/about_PitrErrors.help.txt into a built module: every error id with its category, what it says and what to do next,
# as they stand in the source: ("PitrPS.SomeId", ErrorKind.SomeKind, message, next step, ...). Runs with the core cmdlets only.
param([Parameter(Mandatory)][string] $Source, [Parameter(Mandatory)][string] $Module)

$ErrorActionPreference = 'Stop'

# The string literal that begins here, with its prefix: where it ends, and its words, with {server.Host.Name} as <host>.
function Read-String([string] $Text, [int] $At) {
    $words = [Text.StringBuilder]::new()
    $start = $Text.IndexOf('"', $At)
    $prefix = $Text.Substring($At, $start - $At)
    if ($start + 2 -lt $Text.Length -and $Text.Substring($start, 3) -eq '"""') {
        $end = $Text.IndexOf('"""', $start + 3, [StringComparison]::Ordinal)
        return @{ End = $end + 3; Words = $Text.Substring($start + 3, $end - $start - 3) }
    }

    $interpolated = $prefix.Contains('$')
    $verbatim = $prefix.Contains('@')
    for ($at = $start + 1; $at -lt $Text.Length; $at++) {
        $character = $Text[$at]
        if ($character -eq '"') {
            return @{ End = $at + 1; Words = $words.ToString() }
        }

        if ($character -eq '\' -and -not $verbatim) {
            $at++
            $null = $words.Append($(if ($Text[$at] -eq 'n') { ' ' } else { $Text[$at] }))
        }
        elseif ($interpolated -and $character -eq '{' -and $Text[$at + 1] -ne '{') {
            $close = Skip-Expression $Text ($at + 1) '}'
            $null = $words.Append((Get-Hole $Text.Substring($at + 1, $close - $at - 1)))
            $at = $close
        }
        else {
            # A doubled brace is one.
            $at += [int]($interpolated -and '{}'.Contains($character))
            $null = $words.Append($character)
        }
    }

    throw "A string does not end: $Text"
}

function Test-StringStart([string] $Text, [int] $At) {
    $Text[$At] -eq '"' -or (($Text[$At] -eq '$' -or $Text[$At] -eq '@') -and $Text.Substring($At, [Math]::Min(3, $Text.Length - $At)).Contains('"'))
}

# Where the expression that begins here ends: at one of these characters that is not in brackets of its own, or in a string.
function Skip-Expression([string] $Text, [int] $At, [string] $Ends) {
    $depth = 0
    while ($At -lt $Text.Length) {
        $character = $Text[$At]
        if ($depth -eq 0 -and $Ends.Contains($character)) {
            return $At
        }

        if (Test-StringStart $Text $At) {
            $At = (Read-String $Text $At).End
            continue
        }

        if ($character -eq '/' -and $Text[$At + 1] -eq '/') {
            $At = $Text.IndexOf("`n", $At)
        }
        elseif ($character -eq "'") {
            $At = $Text.IndexOf("'", $At + $(if ($Text[$At + 1] -eq '\') { 3 } else { 2 }))
        }
        else {
            $depth += [int]'([{'.Contains($character) - [int]')]}'.Contains($character)
        }

        $At++
    }

    throw "An expression does not end: $($Text.Substring([Math]::Max(0, $Text.Length - 60)))"
}

# {server.Host.Name} as <host>; what is no plain name as "...".
function Get-Hole([string] $Expression) {
    $name = ($Expression -split ':')[0] -replace '[?!]' -replace '\.(Name|Id|Value|Message|Trim\(\)|ToString\(\))$' -replace '\.(Name|Id|Value)$'
    $last = $name.Split('.')[-1].TrimStart('_')
    if ($name -notmatch '^[\w.]+$' -or $last.Length -lt 3) {
        return '...'
    }

    '<' + ($last -creplace '(?<=[a-z])(?=[A-Z])', ' ').ToLowerInvariant() + '>'
}

# What an expression says: the words of its string literals; '' when it has none.
function Get-Words([string] $Expression) {
    $words = ''
    for ($at = 0; $at -lt $Expression.Length; $at++) {
        if (Test-StringStart $Expression $at) {
            $string = Read-String $Expression $at
            $words += $string.Words
            $at = $string.End - 1
        }
        elseif ($Expression[$at] -eq "'") {
            $at = $Expression.IndexOf("'", $at + $(if ($Expression[$at + 1] -eq '\') { 3 } else { 2 }))
        }
    }

    ($words -replace '\s+', ' ').Trim()
}

# The text in lines of at most 80 columns.
function Format-Paragraph([string] $Text, [string] $Indent, [string] $First) {
    $line = $First
    foreach ($word in $Text.Split(' ')) {
        if ($line.TrimEnd().Length + 1 + $word.Length -gt 80 -and $line.Trim()) {
            $line.TrimEnd()
            $line = $Indent
        }

        $line += $word + ' '
    }

    $line.TrimEnd()
}

$errors = [Collections.Generic.SortedDictionary[string, object]]::new([StringComparer]::Ordinal)
$files = [IO.Directory]::GetFiles($Source, '*.cs', 'AllDirectories') -notmatch '[\\/](obj|bin)[\\/]'
[Array]::Sort($files, [StringComparer]::Ordinal)
foreach ($file in $files) {
    $text = [IO.File]::ReadAllText($file)
    foreach ($match in [regex]::Matches($text, '\(\s*"(PitrPS\.[A-Z]\w+)",\s*')) {
        $id = $match.Groups[1].Value
        $at = $match.Index + $match.Length
        $arguments = @(
            while ($true) {
                $end = Skip-Expression $text $at ',)'
                $text.Substring($at, $end - $at).Trim()
                if ($text[$end] -eq ')') {
                    break
                }

                $at = $end + 1
            }
        )
        # Some classes have a maker of their own that knows the category and the target.
        if ($arguments[0] -match '["$]') {
            $arguments = @('') + $arguments
        }

        if ($arguments.Count -lt 3) {
            continue
        }

        $kind, $says, $next = $arguments[0], (Get-Words $arguments[1]), (Get-Words $arguments[2])
        if (-not $errors.ContainsKey($id)) {
            $errors[$id] = [Collections.Generic.List[object]]::new()
        }

        $errors[$id].Add(@{ Kind = $(if ($kind -match '^ErrorKind\.(\w+)$') { $Matches[1] }); Says = $says; Next = $next })
    }
}

$lines = @(
    'TOPIC'
    '    about_PitrErrors'
    ''
    'SHORT DESCRIPTION'
    '    The errors of PitrPS: what each says, and what to do next.'
    ''
    'LONG DESCRIPTION'
    '    The ids are stable. An error record has the id in FullyQualifiedErrorId, the'
    '    category in CategoryInfo, the host or server as TargetObject, and the next'
    '    step in ErrorDetails.RecommendedAction.'
    foreach ($id in $errors.Keys) {
        $kinds = @($errors[$id].Kind | Where-Object { $_ })
        ''
        "  $id$(if ($kinds) { " ($($kinds[0]))" })"
        $seen = @()
        foreach ($each in $errors[$id]) {
            if ($each.Says -and $seen -notcontains $each.Says) {
                $seen += $each.Says
                Format-Paragraph $each.Says '    ' '    '
                if ($each.Next) {
                    Format-Paragraph $each.Next '      ' '    > '
                }
            }
        }
    }
    ''
    'SEE ALSO'
    '    about_PitrPS'
)
$target = [IO.Path]::Combine($Module, 'en-US', 'about_PitrErrors.help.txt')
$null = [IO.Directory]::CreateDirectory([IO.Path]::GetDirectoryName($target))
[IO.File]::WriteAllText($target, ($lines -join "`n") + "`n")
