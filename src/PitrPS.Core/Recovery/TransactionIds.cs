namespace PitrPS.Recovery;

/// <summary>Transaction numbers run in a circle. Source: src/backend/access/transam/transam.c, TransactionIdPrecedes.</summary>
internal static class TransactionIds
{
    public static bool Precedes(uint a, uint b) => unchecked((int)(a - b)) < 0;
}
