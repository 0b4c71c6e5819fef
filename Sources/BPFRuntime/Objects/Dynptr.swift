import CBPFRuntime

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#elseif canImport(Darwin)
import Darwin
#endif

/// `struct bpf_dynptr` as it lies on a program's stack:
///
///       0               8                      12       16
///       | data          | size, type, readonly | offset |
///
/// The size has 24 bits, the type 3 at bit 28, and bit 31 means read-only. Data of packets is the context's block.
struct Dynptr {
  let place: UnsafeMutableRawPointer

  static let largestSize: UInt32 = 0xff_ffff
  static let local: UInt32 = 1
  static let ringBuffer: UInt32 = 2
  private static let readOnlyBit: UInt32 = 1 << 31

  @inline(__always)
  init(_ address: UInt64) { place = memory(address) }

  @inline(__always) var data: UInt64 { place.load(as: UInt64.self) }
  @inline(__always) private var sizeWord: UInt32 { place.load(fromByteOffset: 8, as: UInt32.self) }
  @inline(__always) var size: UInt32 { sizeWord & Self.largestSize }
  @inline(__always) var type: UInt32 { sizeWord >> 28 & 7 }
  @inline(__always) var isReadOnly: Bool { sizeWord & Self.readOnlyBit != 0 }
  @inline(__always) var offset: UInt32 { place.load(fromByteOffset: 12, as: UInt32.self) }
  @inline(__always) private var isPacket: Bool { type > Self.ringBuffer }

  @inline(__always)
  func set(_ data: UInt64, type: UInt32, size: UInt32) {
    place.storeBytes(of: data, as: UInt64.self)
    place.storeBytes(of: size | type << 28, toByteOffset: 8, as: UInt32.self)
    place.storeBytes(of: 0, toByteOffset: 12, as: UInt32.self)
  }

  @inline(__always)
  func setNull() {
    place.storeBytes(of: 0, as: UInt64.self)
    place.storeBytes(of: 0, toByteOffset: 8, as: UInt64.self)
  }

  @inline(__always)
  func contains(_ offset: UInt32, _ length: UInt32) -> Bool {
    length <= size && offset <= size - length
  }

  /// Where memory of the program's own begins.
  @inline(__always)
  private func bytes(_ offset: UInt32) -> UnsafeMutableRawPointer {
    memory(data &+ UInt64(self.offset) &+ UInt64(offset))
  }

  private func packetOffset(_ offset: UInt32) -> Int { Int(self.offset &+ offset) }

  func read(_ to: UnsafeMutableRawPointer, _ length: UInt32, at offset: UInt32, flags: UInt64) -> Int32 {
    guard data != 0, flags == 0 else { return Failure.EINVAL }
    guard contains(offset, length) else { return Failure.E2BIG }
    if isPacket { return Int32(truncatingIfNeeded: PacketAccess.load(data, packetOffset(offset), to, Int(length))) }
    memmove(to, bytes(offset), Int(length))
    return 0
  }

  func write(_ from: UnsafeRawPointer, _ length: UInt32, at offset: UInt32, flags: UInt64) -> Int32 {
    guard data != 0, !isReadOnly else { return Failure.EINVAL }
    guard contains(offset, length) else { return Failure.E2BIG }
    if isPacket {
      return Int32(
        truncatingIfNeeded: PacketAccess.store(data, packetOffset(offset), from, Int(length), flags: flags))
    }
    guard flags == 0 else { return Failure.EINVAL }
    memmove(bytes(offset), from, Int(length))
    return 0
  }

  /// `bpf_dynptr_data`: only for memory of the program's own.
  func pointer(_ offset: UInt32, _ length: UInt32) -> UInt64 {
    guard data != 0, contains(offset, length), !isReadOnly, !isPacket else { return 0 }
    return UInt64(UInt(bitPattern: bytes(offset)))
  }

  /// `bpf_dynptr_slice`: what lies in pieces is copied to `buffer`, if there is one.
  func slice(_ offset: UInt32, _ length: UInt32, buffer: UInt64) -> UInt64 {
    guard data != 0, contains(offset, length) else { return 0 }
    guard isPacket else { return UInt64(UInt(bitPattern: bytes(offset))) }
    let copy = buffer == 0 ? nil : memory(buffer)
    let place = PacketAccess.slice(data, packetOffset(offset), Int(length), buffer: copy)
    return UInt64(UInt(bitPattern: place))
  }

  func writableSlice(_ offset: UInt32, _ length: UInt32, buffer: UInt64) -> UInt64 {
    guard data != 0, !isReadOnly else { return 0 }
    return slice(offset, length, buffer: buffer)
  }

  func adjust(_ start: UInt32, _ end: UInt32) -> Int32 {
    guard data != 0, start <= end else { return Failure.EINVAL }
    guard start <= size, end <= size else { return Failure.ERANGE }
    place.storeBytes(of: offset &+ start, toByteOffset: 12, as: UInt32.self)
    place.storeBytes(of: (sizeWord & ~Self.largestSize) | (end - start), toByteOffset: 8, as: UInt32.self)
    return 0
  }

  func clone(to other: Dynptr) -> Int32 {
    guard data != 0 else {
      other.setNull()
      return Failure.EINVAL
    }
    memmove(other.place, place, 16)
    return 0
  }

  private static let chunk: UInt32 = 256

  /// Copies from another dynptr.
  func copy(_ offset: UInt32, from source: Dynptr, _ sourceOffset: UInt32, _ count: UInt32) -> Int32 {
    let from = source.slice(sourceOffset, count, buffer: 0)
    let to = writableSlice(offset, count, buffer: 0)
    if from != 0 && to != 0 {
      memmove(memory(to), memory(from), Int(count))
      return 0
    }
    if from != 0 { return write(memory(from), count, at: offset, flags: 0) }
    if to != 0 { return source.read(memory(to), count, at: sourceOffset, flags: 0) }
    guard contains(offset, count), source.contains(sourceOffset, count) else { return Failure.E2BIG }
    return inChunks(count) { buffer, done, size in
      let error = source.read(buffer, size, at: sourceOffset &+ done, flags: 0)
      return error != 0 ? error : write(buffer, size, at: offset &+ done, flags: 0)
    }
  }

  func fill(_ offset: UInt32, _ count: UInt32, _ byte: UInt8) -> Int32 {
    let place = writableSlice(offset, count, buffer: 0)
    if place != 0 {
      memset(memory(place), Int32(byte), Int(count))
      return 0
    }
    guard !isReadOnly else { return Failure.EINVAL }
    guard contains(offset, count) else { return Failure.E2BIG }
    return inChunks(count) { buffer, done, size in
      memset(buffer, Int32(byte), Int(size))
      return write(buffer, size, at: offset &+ done, flags: 0)
    }
  }

  /// Goes through `count` bytes by way of a small buffer, until there is an error.
  private func inChunks(_ count: UInt32, _ body: (UnsafeMutableRawPointer, UInt32, UInt32) -> Int32) -> Int32 {
    withUnsafeTemporaryAllocation(byteCount: Int(Self.chunk), alignment: 8) { buffer in
      guard let base = buffer.baseAddress else { return Failure.ENOMEM }
      var done: UInt32 = 0
      while done < count {
        let size = min(Self.chunk, count - done)
        let error = body(base, done, size)
        if error != 0 { return error }
        done += size
      }
      return 0
    }
  }
}

enum DynptrHelpers {
  static let table: [UInt32: RuntimeFunction] = [
    // bpf_dynptr_from_mem
    197: RuntimeFunction { data, size, flags, dynptr, _, _ in
      let size = UInt32(truncatingIfNeeded: size)
      let dynptr = Dynptr(dynptr)
      guard size <= Dynptr.largestSize else {
        dynptr.setNull()
        return .failure(Failure.E2BIG)
      }
      guard flags == 0 else {
        dynptr.setNull()
        return .failure(Failure.EINVAL)
      }
      dynptr.set(data, type: Dynptr.local, size: size)
      return 0
    },
    // bpf_dynptr_read
    201: RuntimeFunction { to, length, dynptr, offset, flags, _ in
      .failure(
        Dynptr(dynptr).read(
          memory(to), UInt32(truncatingIfNeeded: length), at: UInt32(truncatingIfNeeded: offset), flags: flags))
    },
    // bpf_dynptr_write
    202: RuntimeFunction { dynptr, offset, from, length, flags, _ in
      .failure(
        Dynptr(dynptr).write(
          memory(from), UInt32(truncatingIfNeeded: length), at: UInt32(truncatingIfNeeded: offset), flags: flags))
    },
    // bpf_dynptr_data
    203: RuntimeFunction { dynptr, offset, length, _, _, _ in
      Dynptr(dynptr).pointer(UInt32(truncatingIfNeeded: offset), UInt32(truncatingIfNeeded: length))
    },
  ]
}
