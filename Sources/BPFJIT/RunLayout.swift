import BPFRuntime
import CBPFRuntime

/// Where machine code finds what it needs of runs and maps, and the functions of Swift that it calls.
enum RunLayout {
  private static func offset(_ path: PartialKeyPath<skep_run>) -> Int32 {
    Int32(MemoryLayout<skep_run>.offset(of: path) ?? 0)
  }
  static let cpu = offset(\.cpu)
  static let exceptionValue = offset(\.exception_value)
  static let unwinding = offset(\.unwinding)
  static let savedStack = offset(\.saved_stack)
  static let tailCalls = offset(\.tail_calls)
  static let stopRequested = offset(\.stop_requested)
  static let invoke = offset(\.invoke)
  static let program = offset(\.program)
  static let maximumEntries = Int32(MemoryLayout<skep_map>.offset(of: \.max_entries) ?? 0)
  static let programs = Int32(MemoryLayout<skep_map>.offset(of: \.programs) ?? 0)

  /// `(address, size)`: what is there, or zero where nothing is.
  static let faultingRead: UInt64 = {
    let function: @convention(c) (UInt64, UInt64) -> UInt64 = { address, size in readFaulting(address, size) }
    return UInt64(UInt(bitPattern: unsafeBitCast(function, to: UnsafeRawPointer.self)))
  }()

  /// `(budget)`: whether a loop around `may_goto` goes on.
  static let renewBudget: UInt64 = {
    let function: @convention(c) (UnsafeMutablePointer<UInt64>?) -> UInt64 = { MayGotoBudget.renew($0) ? 1 : 0 }
    return UInt64(UInt(bitPattern: unsafeBitCast(function, to: UnsafeRawPointer.self)))
  }()
}

private func readFaulting(_ address: UInt64, _ size: UInt64) -> UInt64 { faultingRead(address, size) }
