import BPFLinux
import CBPFRuntime

/// The helpers that are not about packets, by number.
public enum GeneralHelpers {
  public static let table: [UInt32: RuntimeFunction] = {
    let tables = [
      MapHelpers.table, OutputHelpers.table, WorldHelpers.table, TextHelpers.table, DynptrHelpers.table,
      StorageHelpers.table, TracedCallHelpers.table, SystemHelpers.table,
    ]
    return tables.reduce(into: [:]) { $0.merge($1) { $1 } }
  }()
}
