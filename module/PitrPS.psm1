# The cmdlets live in a load context of their own (src/PitrPS.Loader).
$loader = [Runtime.Loader.AssemblyLoadContext]::Default.LoadFromAssemblyPath([IO.Path]::Combine($PSScriptRoot, 'bin', 'PitrPS.Loader.dll'))
$inner = Import-Module -Assembly $loader.GetType('PitrPS.Loader.ModuleLoadContext').GetProperty('CmdletAssembly').GetValue($null) -PassThru

# Left behind, the inner module would be found loaded by the next Import-Module -Force, and that would export nothing.
$ExecutionContext.SessionState.Module.OnRemove = { Remove-Module -ModuleInfo $inner }.GetNewClosure()
