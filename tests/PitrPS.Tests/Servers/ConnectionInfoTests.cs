using PitrPS.Servers;

namespace PitrPS.Tests.Servers;

public class ConnectionInfoTests
{
    [Theory]
    [InlineData("host=10.0.0.1 port=5433 user=repl password=secret", "10.0.0.1", 5433)]
    [InlineData("user='a b' host = db.example.org", "db.example.org", 5432)]
    [InlineData("hostaddr=10.0.0.2 password='it\\'s host=evil'", "10.0.0.2", 5432)]
    [InlineData("host=a,b port=1,2", "a", 1)]
    [InlineData("postgresql://repl:s%40cret@db:5434/postgres?sslmode=verify-ca", "db", 5434)]
    [InlineData("postgres://repl@[fd00::1]:5435", "fd00::1", 5435)]
    [InlineData("postgresql:///?host=db2&port=6", "db2", 6)]
    public void Finds_the_primary(string conninfo, string address, int port) =>
        Assert.Equal(new PrimaryLink(address, port, 22, "slot", null, null), ConnectionInfo.Primary(conninfo, "slot"));

    [Theory]
    [InlineData(null)]
    [InlineData("")]
    [InlineData("user=repl")]
    [InlineData("host=/var/run/postgresql")]
    [InlineData("host")]
    public void Knows_when_no_address_is_named(string? conninfo) => Assert.Null(ConnectionInfo.Primary(conninfo, null));

    [Fact]
    public void An_empty_slot_is_none() => Assert.Null(ConnectionInfo.Primary("host=a", "")!.Slot);
}
