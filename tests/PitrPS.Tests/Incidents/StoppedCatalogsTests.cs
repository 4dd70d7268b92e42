using System.Buffers.Binary;
using System.Text;
using PitrPS.Hosts;
using PitrPS.Incidents;
using PitrPS.Tests.Fakes;

namespace PitrPS.Tests.Incidents;

/// <summary>A data directory in memory: one database, its pg_class with every state that a row can be in.</summary>
public sealed class StoppedCatalogsTests
{
    private const int Frozen = 0x0300, XminCommitted = 0x0100, XmaxCommitted = 0x0400, XmaxInvalid = 0x0800, LockOnly = 0x0080, Multi = 0x1000;
    private const uint Committed = 1000, Aborted = 1001, Running = 1002;
    private static readonly CatalogDatabase Shop = new(16384, "shop");
    private readonly FakeRemoteHost _host = new();
    private readonly StoppedCatalogs _catalogs;

    public StoppedCatalogsTests()
    {
        var server = TestServer.Of(13) with { Host = _host.Host, IsRunning = false };
        _catalogs = new StoppedCatalogs(server);
        var data = server.DataDirectory;
        _host.On("pg_filenode.map", $"{data}/base/16384\n");
        Write($"{data}/pg_xact/0000", CommitLog((Committed, 1), (Aborted, 2), (Running, 0)));
        Write($"{data}/global/pg_filenode.map", Map((1262, 1262)));
        Write($"{data}/global/1262", Page(Row(Named(16384, "shop"), xmin: 2, state: XminCommitted | XmaxInvalid)));
        Write($"{data}/base/16384/pg_filenode.map", Map((1249, 1249), (1259, 50001), (1247, 1247)));
        Write($"{data}/base/16384/2615", Page(Row(Named(2200, "public"), state: Frozen | XmaxInvalid), Row(Named(16500, "sales"), xmin: Committed, state: XmaxInvalid)));
        Write($"{data}/base/16384/50001", [.. Page(
                Row(Class(2615, "pg_namespace", 11, 2615), state: Frozen | XmaxInvalid),
                Row(Class(16390, "kept"), xmin: Committed, state: XmaxInvalid),
                Row(Class(16391, "dropped"), state: XminCommitted, xmax: Committed),
                Row(Class(16392, "hinted"), state: XminCommitted | XmaxCommitted, xmax: Running),
                Row(Class(16393, "being dropped"), state: Frozen, xmax: Running),
                Row(Class(16394, "drop undone"), state: Frozen, xmax: Aborted)),
            .. Page(
                Row(Class(16395, "never made"), xmin: Aborted, state: XmaxInvalid),
                Row(Class(16396, "being made"), xmin: Running, state: XmaxInvalid),
                Row(Class(16397, "locked"), state: Frozen | LockOnly, xmax: Committed),
                Row(Class(16398, "locked by many"), state: Frozen | Multi, xmax: Committed),
                Row(Class(16399, "orders", 16500, 70000), state: Frozen | XmaxInvalid))]);
        Write($"{data}/base/16384/1249", Page(
            Row(Attribute(16393, -1), state: Frozen, xmax: Running), Row(Attribute(16393, 1), state: Frozen, xmax: Running),
            Row(Attribute(16390, -1), state: Frozen | XmaxInvalid), Row(Attribute(16391, -1), state: Frozen, xmax: Committed)));
    }

    [Fact]
    public async Task Names_the_databases() => Assert.Equal([Shop], await _catalogs.DatabasesAsync(CancellationToken.None));

    [Fact]
    public async Task Sees_what_is_committed_and_still_what_only_a_held_back_commit_removes()
    {
        var found = await _catalogs.RelationsAsync(Shop, [.. Enumerable.Range(16390, 10).Select(o => (uint)o)], [], [], CancellationToken.None);

        Assert.Equal(["kept", "being dropped", "drop undone", "locked", "locked by many", "orders"], found.Select(f => f.Name));
        Assert.Equal(("sales", 70000u, new TupleId(1, 5), true), found.Where(f => f.Name == "orders").Select(f => (f.Schema, f.FileNode, f.Row, f.IsTable)).Single());
    }

    [Fact]
    public async Task Finds_by_file_and_by_place_too()
    {
        Assert.Equal("orders", Assert.Single(await _catalogs.RelationsAsync(Shop, [], [70000], [], CancellationToken.None)).Name);
        Assert.Equal("kept", Assert.Single(await _catalogs.RelationsAsync(Shop, [], [], [new TupleId(0, 2)], CancellationToken.None)).Name);
    }

    [Fact]
    public async Task Follows_the_map_to_a_rewritten_pg_class() => Assert.Equal((50001u, 2615u), await _catalogs.FilesAsync(Shop, CancellationToken.None));

    [Fact]
    public async Task Says_who_is_about_to_remove_a_table() =>
        Assert.Equal([new KeyValuePair<uint, uint>(16393, Running)], await _catalogs.RemoversAsync(Shop, [16390, 16391, 16393], CancellationToken.None));

    [Fact]
    public async Task A_file_that_is_missing_is_an_error_with_an_id()
    {
        _host.Files.Remove("/var/lib/postgresql/13/main/base/16384/2615");

        Assert.Equal("PitrPS.CatalogUnreadable", (await Assert.ThrowsAsync<PitrException>(() => _catalogs.SchemasAsync(Shop, CancellationToken.None))).Id);
    }

    private void Write(string path, byte[] content) => _host.Files[path] = new RemoteFile(path, content, 0x180);

    private static byte[] CommitLog(params (uint Xid, int Status)[] states)
    {
        var log = new byte[8192];
        foreach (var (xid, status) in states)
        {
            log[xid / 4] |= (byte)(status << (int)(xid % 4 * 2));
        }

        return log;
    }

    private static byte[] Map(params (uint Oid, uint File)[] mappings)
    {
        var map = new byte[512];
        BinaryPrimitives.WriteInt32LittleEndian(map, 0x592717);
        BinaryPrimitives.WriteInt32LittleEndian(map.AsSpan(4), mappings.Length);
        for (var i = 0; i < mappings.Length; i++)
        {
            BinaryPrimitives.WriteUInt32LittleEndian(map.AsSpan(8 + (8 * i)), mappings[i].Oid);
            BinaryPrimitives.WriteUInt32LittleEndian(map.AsSpan(12 + (8 * i)), mappings[i].File);
        }

        return map;
    }

    private static byte[] Named(uint oid, string name)
    {
        var data = new byte[120];
        BinaryPrimitives.WriteUInt32LittleEndian(data, oid);
        Encoding.UTF8.GetBytes(name, data.AsSpan(4));
        return data;
    }

    private static byte[] Class(uint oid, string name, uint schema = 2200, uint? file = null)
    {
        var data = Named(oid, name);
        BinaryPrimitives.WriteUInt32LittleEndian(data.AsSpan(68), schema);
        BinaryPrimitives.WriteUInt32LittleEndian(data.AsSpan(88), file ?? oid);
        (data[114], data[115]) = ((byte)'p', (byte)'r');
        return data;
    }

    private static byte[] Attribute(uint relation, short number)
    {
        var data = Named(relation, "column");
        BinaryPrimitives.WriteInt16LittleEndian(data.AsSpan(78), number);
        return data;
    }

    private static byte[] Row(byte[] data, int state, uint xmin = 500, uint xmax = 0)
    {
        var tuple = new byte[24 + data.Length];
        BinaryPrimitives.WriteUInt32LittleEndian(tuple, xmin);
        BinaryPrimitives.WriteUInt32LittleEndian(tuple.AsSpan(4), xmax);
        BinaryPrimitives.WriteUInt16LittleEndian(tuple.AsSpan(20), (ushort)state);
        tuple[22] = 24;
        data.CopyTo(tuple, 24);
        return tuple;
    }

    private static byte[] Page(params byte[][] rows)
    {
        var page = new byte[8192];
        var end = page.Length;
        for (var i = 0; i < rows.Length; i++)
        {
            end -= rows[i].Length;
            rows[i].CopyTo(page, end);
            BinaryPrimitives.WriteUInt32LittleEndian(page.AsSpan(24 + (4 * i)), (uint)end | (1u << 15) | ((uint)rows[i].Length << 17));
        }

        BinaryPrimitives.WriteUInt16LittleEndian(page.AsSpan(12), (ushort)(24 + (4 * rows.Length)));
        return page;
    }
}
