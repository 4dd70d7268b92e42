using PitrPS.Servers;

namespace PitrPS.Recovery;

/// <summary>What the WAL says of a target, read once however many ways are tried.</summary>
internal sealed class SharedSurvey(PgServer standby, IFeedback feedback, CancellationToken cancel) : IAsyncDisposable
{
    private readonly Dictionary<RecoveryTarget, TargetSurvey> _read = [];

    /// <exception cref="PitrException">What <see cref="TargetSurvey.ReadAsync"/> refuses.</exception>
    public async Task<TargetSurvey> ReadAsync(RecoveryOptions options)
    {
        if (!_read.TryGetValue(options.Target, out var survey))
        {
            _read[options.Target] = survey = await TargetSurvey.ReadAsync(options, standby, feedback, cancel).ConfigureAwait(false);
        }

        return survey;
    }

    public async ValueTask DisposeAsync()
    {
        foreach (var survey in _read.Values)
        {
            await survey.DisposeAsync().ConfigureAwait(false);
        }
    }
}
